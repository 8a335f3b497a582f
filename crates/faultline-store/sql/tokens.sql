-- Every token, without its hash's use to anybody else.
select name, role, created_at, revoked_at, hash from faultline.api_tokens order by created_at limit 10000
