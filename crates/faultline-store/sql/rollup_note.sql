-- The span that is to be counted next is over: whatever wrote before has a lower id than this transaction.
update faultline.rollup_state s set boundary = pg_current_xact_id() where s.boundary is null
