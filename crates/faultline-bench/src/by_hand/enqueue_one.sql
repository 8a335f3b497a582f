insert into by_hand.jobs (id, queue, kind, payload) values ($1, 'bench', $3, $2)
