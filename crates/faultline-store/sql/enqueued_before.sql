-- Which of the jobs $1 have ended already: look-ups by id in the history.
select h.id from faultline.job_history h where h.id = any ($1::uuid[])
