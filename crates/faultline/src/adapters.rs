//! Enqueue and complete inside transactions of other drivers: one SQL function call each.

use crate::enqueue::Enqueue;
use crate::error::Error;
use crate::run::Run;
use faultline_store::enqueue::{ENQUEUE_ONE, Enqueued, OneJob, answer_of_one};
use serde::Serialize;

const COMPLETE: &str = "select faultline.complete_in_tx($1::text::uuid, $2::text::uuid, $3::text::jsonb)";

fn settled(id: &str, created: bool, conflict: bool) -> Result<Enqueued, Error> {
    match answer_of_one(id, created, conflict)? {
        Enqueued::Conflict(holder) => Err(Error::KeyConflict { holder }),
        enqueued => Ok(enqueued),
    }
}

#[cfg(feature = "sqlx")]
mod with_sqlx {
    use super::{COMPLETE, ENQUEUE_ONE, Enqueue, Enqueued, Error, OneJob, Run, Serialize, settled};
    use sqlx::{PgConnection, Row};

    impl Enqueue<'_> {
        /// Enqueues it in the caller's transaction of sqlx, which decides whether it exists: pass `&mut *tx`.
        ///
        /// ```no_run
        /// # async fn example(faultline: faultline::Client, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
        /// let mut tx = pool.begin().await?;
        /// faultline.enqueue_raw("send_email", "ann@example.com").within_sqlx(&mut *tx).await?;
        /// tx.commit().await?;
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// # Errors
        /// As [`Enqueue::within`]; the driver's own as [`Error::Driver`].
        pub async fn within_sqlx(self, connection: &mut PgConnection) -> Result<Enqueued, Error> {
            let job = OneJob::of(&self.into_new_job()?)?;
            let row = sqlx::query(ENQUEUE_ONE)
                .bind(job.id)
                .bind(job.queue)
                .bind(job.kind)
                .bind(job.payload)
                .bind(job.headers)
                .bind(job.key)
                .bind(job.key_ttl_ms)
                .bind(job.priority)
                .bind(job.delay_ms)
                .bind(job.run_at)
                .bind(job.max_attempts)
                .bind(job.timeout_ms)
                .bind(job.backoff_base_ms)
                .bind(job.backoff_cap_ms)
                .fetch_one(connection)
                .await?;
            settled(row.try_get("id")?, row.get("created"), row.get("conflict"))
        }
    }

    impl Run {
        /// [`Run::complete_in`] for a transaction of sqlx: pass `&mut *tx`.
        ///
        /// # Errors
        /// As [`Run::complete_in`]; the driver's own as [`Error::Driver`].
        pub async fn complete_in_sqlx(
            &self,
            connection: &mut PgConnection,
            result: &impl Serialize,
        ) -> Result<(), Error> {
            let result = self.begin_complete_in(result)?;
            sqlx::query(COMPLETE)
                .bind(self.id().to_string())
                .bind(self.lease_id().to_string())
                .bind(result.map(|json| json.get().to_owned()))
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

#[cfg(feature = "diesel")]
mod with_diesel {
    use super::{COMPLETE, ENQUEUE_ONE, Enqueue, Enqueued, Error, OneJob, Run, Serialize, settled};
    use diesel::sql_types::{BigInt, Bool, Integer, Nullable, SmallInt, Text};
    use diesel::{QueryableByName, sql_query};
    use diesel_async::{AsyncPgConnection, RunQueryDsl};

    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Answer {
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = Bool)]
        created: bool,
        #[diesel(sql_type = Bool)]
        conflict: bool,
    }

    impl Enqueue<'_> {
        /// Enqueues it in the caller's transaction of diesel-async, which decides whether it exists.
        ///
        /// # Errors
        /// As [`Enqueue::within`]; the driver's own as [`Error::Driver`].
        pub async fn within_diesel(self, connection: &mut AsyncPgConnection) -> Result<Enqueued, Error> {
            let job = OneJob::of(&self.into_new_job()?)?;
            let answer: Answer = sql_query(ENQUEUE_ONE)
                .bind::<Text, _>(job.id)
                .bind::<Text, _>(job.queue)
                .bind::<Text, _>(job.kind)
                .bind::<Text, _>(job.payload)
                .bind::<Nullable<Text>, _>(job.headers)
                .bind::<Nullable<Text>, _>(job.key)
                .bind::<BigInt, _>(job.key_ttl_ms)
                .bind::<SmallInt, _>(job.priority)
                .bind::<BigInt, _>(job.delay_ms)
                .bind::<Nullable<Text>, _>(job.run_at)
                .bind::<Integer, _>(job.max_attempts)
                .bind::<Integer, _>(job.timeout_ms)
                .bind::<Integer, _>(job.backoff_base_ms)
                .bind::<Integer, _>(job.backoff_cap_ms)
                .get_result(connection)
                .await?;
            settled(&answer.id, answer.created, answer.conflict)
        }
    }

    impl Run {
        /// [`Run::complete_in`] for a transaction of diesel-async.
        ///
        /// # Errors
        /// [`Error::LeaseLost`]; the driver's own as [`Error::Driver`].
        pub async fn complete_in_diesel(
            &self,
            connection: &mut AsyncPgConnection,
            result: &impl Serialize,
        ) -> Result<(), Error> {
            let result = self.begin_complete_in(result)?;
            sql_query(COMPLETE)
                .bind::<Text, _>(self.id().to_string())
                .bind::<Text, _>(self.lease_id().to_string())
                .bind::<Nullable<Text>, _>(result.map(|json| json.get().to_owned()))
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}
