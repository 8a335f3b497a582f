-- One statement for many rows of kind $3; the database's clock, as the engine has it.
insert into by_hand.jobs (id, queue, kind, payload)
select id, 'bench', $3, payload from unnest($1::uuid[], $2::jsonb[]) as i(id, payload)
