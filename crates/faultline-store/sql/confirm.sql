-- A mark in the WAL that means nothing: its commit waits for the same durability as any other, a synchronous standby
-- included, and with it everything that was committed before. For answers that only read what an earlier try has
-- committed, perhaps without having been able to wait.
select pg_logical_emit_message(true, 'faultline', '')
