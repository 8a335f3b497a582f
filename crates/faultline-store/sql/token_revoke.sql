-- Revoke token $1. No row: there is none, or it was revoked before.
update faultline.api_tokens set revoked_at = clock_timestamp() where name = $1 and revoked_at is null returning id
