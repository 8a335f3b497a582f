-- A hint that queue $1 has work. Sent outside of any enqueuing transaction: a notifying transaction
-- takes a cluster-wide lock at its commit.
select pg_notify('faultline', $1)
