-- A new token $1 with role $2; $3 is its SHA-256. No row: the name is taken.
insert into faultline.api_tokens (name, role, hash) values ($1, $2, $3)
on conflict (name) do nothing
returning id
