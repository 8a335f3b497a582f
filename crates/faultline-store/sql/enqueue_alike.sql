-- Enqueue a batch whose jobs differ in id, payload and headers only, without keys. No row comes back: all of it was created.
select from faultline.enqueue_alike($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
