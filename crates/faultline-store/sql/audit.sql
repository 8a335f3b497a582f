-- Note what an operator did: $1 actor, $2 action, $3 subject, $4 detail.
insert into faultline.audit_log (actor, action, subject, detail) values ($1, $2, $3, $4)
