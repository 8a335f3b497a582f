//! From the values of a statement to its rows.

use super::finish::{Back, Failed, Moved};
use super::jobs::{Claim, Floor, New};
use super::{Job, Store};
use crate::log::Event;
use crate::statement::{Shape, Statement};
use crate::wire::{Row, row};
use bytes::Bytes;
use jiff::Timestamp;
use postgres_types::{FromSqlOwned, Json, PgLsn};
use serde_json::value::RawValue;
use uuid::Uuid;

type Raw = Json<Box<RawValue>>;

/// The values that a statement was bound to.
struct Values<'a> {
    shape: &'a Shape,
    values: &'a [Option<Bytes>],
}

impl Values<'_> {
    fn get<T: FromSqlOwned>(&self, at: usize) -> Result<T, String> {
        let kind = self.shape.parameters.get(at).ok_or("too many values")?;
        let value = self.values.get(at).ok_or("too few values")?;
        if !T::accepts(kind) {
            return Err(format!("${} is of type {kind}", at + 1));
        }
        T::from_sql_nullable(kind, value.as_deref()).map_err(|error| format!("${}: {error}", at + 1))
    }

    fn size(&self, at: usize) -> Result<usize, String> {
        Ok(usize::try_from(self.get::<i64>(at)?).unwrap_or(0))
    }

    fn pairs(&self, at: usize) -> Result<Vec<(Uuid, Uuid)>, String> {
        Ok(self.get::<Vec<Uuid>>(at)?.into_iter().zip(self.get::<Vec<Uuid>>(at + 1)?).collect())
    }

    fn floors(&self, at: usize) -> Result<Vec<Floor>, String> {
        let (priorities, times, ties): (Vec<i16>, Vec<Timestamp>, Vec<i32>) =
            (self.get(at)?, self.get(at + 1)?, self.get(at + 2)?);
        Ok(priorities.into_iter().zip(times).zip(ties).map(|((priority, time), tie)| (priority, time, tie)).collect())
    }

    fn new_jobs(&self) -> Result<Vec<New>, String> {
        let keys: Vec<Option<String>> = self.get(5)?;
        if keys.iter().any(Option::is_some) {
            return Err("keys are not part of the simulation".into());
        }
        let (ids, queues, kinds): (Vec<Uuid>, Vec<String>, Vec<String>) = (self.get(0)?, self.get(1)?, self.get(2)?);
        let (payloads, headers): (Vec<Raw>, Vec<Option<Raw>>) = (self.get(3)?, self.get(4)?);
        let (priorities, delays, run_ats): (Vec<i16>, Vec<i64>, Vec<Option<Timestamp>>) =
            (self.get(7)?, self.get(8)?, self.get(9)?);
        let (most, timeouts, bases, caps): (Vec<i32>, Vec<i32>, Vec<i32>, Vec<i32>) =
            (self.get(10)?, self.get(11)?, self.get(12)?, self.get(13)?);
        let text = |json: &Raw| json.0.get().to_owned();
        let new = |at: usize| New {
            id: ids[at],
            queue: queues[at].clone(),
            kind: kinds[at].clone(),
            payload: text(&payloads[at]),
            headers: headers[at].as_ref().map(text),
            priority: priorities[at],
            delay_ms: delays[at],
            run_at: run_ats[at],
            max_attempts: most[at],
            timeout_ms: timeouts[at],
            backoff_base_ms: bases[at],
            backoff_cap_ms: caps[at],
        };
        Ok((0..ids.len()).map(new).collect())
    }

    fn new_jobs_alike(&self) -> Result<Vec<New>, String> {
        let (ids, payloads, headers): (Vec<Uuid>, Vec<Raw>, Option<Vec<Option<Raw>>>) =
            (self.get(0)?, self.get(1)?, self.get(2)?);
        let headers = headers.unwrap_or_else(|| ids.iter().map(|_| None).collect());
        let text = |json: Raw| json.0.get().to_owned();
        let jobs = ids.into_iter().zip(payloads).zip(headers).map(|((id, payload), headers)| {
            Ok(New {
                id,
                payload: text(payload),
                headers: headers.map(text),
                queue: self.get(3)?,
                kind: self.get(4)?,
                priority: self.get(5)?,
                delay_ms: self.get(6)?,
                run_at: self.get(7)?,
                max_attempts: self.get(8)?,
                timeout_ms: self.get(9)?,
                backoff_base_ms: self.get(10)?,
                backoff_cap_ms: self.get(11)?,
            })
        });
        jobs.collect()
    }

    fn failed(&self) -> Result<Vec<Failed>, String> {
        let (delays, fatal, reasons): (Vec<i64>, Vec<bool>, Vec<Option<String>>) =
            (self.get(4)?, self.get(5)?, self.get(6)?);
        let parts = self.pairs(1)?.into_iter().zip(delays).zip(fatal).zip(reasons);
        Ok(parts
            .map(|((((id, lease), delay_ms), is_fatal), reason)| Failed { id, lease, delay_ms, is_fatal, reason })
            .collect())
    }

    fn backs(&self) -> Result<Vec<Back>, String> {
        let (delays, outcomes): (Vec<Option<i64>>, Vec<String>) = (self.get(3)?, self.get(4)?);
        let parts = self.pairs(1)?.into_iter().zip(delays).zip(outcomes);
        Ok(parts.map(|(((id, lease), delay_ms), outcome)| Back { id, lease, delay_ms, outcome }).collect())
    }
}

impl Store {
    /// Runs a statement for the session `pid`; answers its rows and what it did.
    pub(crate) fn run(
        &mut self,
        shape: &Shape,
        values: &[Option<Bytes>],
        pid: i32,
        now: Timestamp,
    ) -> (Result<Vec<Row>, String>, Vec<Event>) {
        let values = Values { shape, values };
        let rows = match shape.statement {
            Statement::Greeting
            | Statement::Version
            | Statement::Notify
            | Statement::Audit
            | Statement::Confirm
            | Statement::Partitions
            | Statement::RollupReport
            | Statement::RollupPrune
            | Statement::Prune
            | Statement::Cancel
            | Statement::Enqueue
            | Statement::EnqueueAlike => self.aside(&values, now),
            Statement::Claim
            | Statement::RecoverClaim
            | Statement::Renew
            | Statement::Held
            | Statement::Complete
            | Statement::Fail
            | Statement::PutBack
            | Statement::FinishOutcome => self.attempt(&values, now),
            Statement::Watch
            | Statement::Rehearse
            | Statement::Reap
            | Statement::QueuesOfWorkers
            | Statement::Bury
            | Statement::QueueNames
            | Statement::Register
            | Statement::Heartbeat
            | Statement::StopWorker => self.care(&values, pid, now),
        };
        (rows, std::mem::take(&mut self.events))
    }

    fn aside(&mut self, values: &Values<'_>, now: Timestamp) -> Result<Vec<Row>, String> {
        let shape = values.shape;
        Ok(match shape.statement {
            Statement::Greeting => vec![row(shape, &[&true, &self.server_started_at])],
            Statement::Confirm => vec![row(shape, &[&PgLsn::from(0)])],
            Statement::Partitions => vec![row(shape, &[&true])],
            Statement::Version => vec![row(shape, &[&faultline_store::migrate::NEEDED])],
            Statement::Notify => {
                self.notify(&values.get::<String>(0)?);
                Vec::new()
            }
            Statement::Prune => vec![row(shape, &[&0_i64, &self.prune(now)])],
            Statement::Cancel => vec![row(shape, &[&self.cancel(values.get(0)?, now)])],
            Statement::Enqueue => {
                let times = self.enqueue(values.new_jobs()?, now)?;
                let rows = (1_i64..).zip(times).map(|(ord, (id, created_at, next_run_at))| {
                    row(shape, &[&ord, &id, &true, &false, &created_at, &next_run_at])
                });
                rows.collect()
            }
            Statement::EnqueueAlike => {
                self.enqueue(values.new_jobs_alike()?, now)?;
                vec![row(shape, &[])]
            }
            Statement::RollupPrune => vec![row(shape, &[&0_i64])],
            Statement::Audit | Statement::RollupReport => Vec::new(),
            other => return Err(format!("{other:?} is run elsewhere")),
        })
    }

    fn attempt(&mut self, values: &Values<'_>, now: Timestamp) -> Result<Vec<Row>, String> {
        let shape = values.shape;
        let moved = |rows: Vec<Moved>| rows.iter().map(|(id, lease, state)| row(shape, &[id, lease, state])).collect();
        Ok(match shape.statement {
            Statement::Claim => {
                let queue: String = values.get(0)?;
                let claim = Claim {
                    lease: values.get(1)?,
                    owner: values.get(2)?,
                    ttl_ms: values.get(3)?,
                    limit: values.size(4)?,
                };
                self.claim(&queue, &claim, &values.floors(5)?, now).iter().map(|job| claimed(shape, job)).collect()
            }
            Statement::RecoverClaim => {
                let (queue, lease): (String, Uuid) = (values.get(0)?, values.get(1)?);
                let found = self.recover_claim(&queue, lease, &values.floors(2)?, values.size(5)?, now);
                found.iter().map(|job| claimed(shape, job)).collect()
            }
            Statement::Renew => {
                let renewed = self.renew(&values.get::<String>(0)?, &values.pairs(1)?, values.get(3)?, now);
                renewed.iter().map(|(id, lease, cancel)| row(shape, &[id, lease, cancel])).collect()
            }
            Statement::Held => {
                let held = self.still_held(&values.get::<String>(0)?, &values.pairs(1)?);
                held.iter().map(|(id, lease)| row(shape, &[id, lease])).collect()
            }
            Statement::Complete => {
                let ended = self.complete(&values.get::<String>(0)?, &values.pairs(1)?, now);
                ended.iter().map(|(id, lease)| row(shape, &[id, lease])).collect()
            }
            Statement::Fail => moved(self.fail(&values.get::<String>(0)?, values.failed()?, now)),
            Statement::PutBack => moved(self.put_back(&values.get::<String>(0)?, values.backs()?, now)),
            Statement::FinishOutcome => moved(self.finish_outcome(&values.pairs(0)?)),
            other => return Err(format!("{other:?} is run elsewhere")),
        })
    }

    fn care(&mut self, values: &Values<'_>, pid: i32, now: Timestamp) -> Result<Vec<Row>, String> {
        let shape = values.shape;
        Ok(match shape.statement {
            Statement::Watch => {
                let fleet = self.fleet();
                let seen = self.watch(values.get(1)?, &values.floors(2)?, values.size(0)?, now);
                let rows = seen.iter().map(|seen| {
                    row(
                        shape,
                        &[
                            &seen.queue,
                            &seen.priority,
                            &seen.due,
                            &seen.running,
                            &seen.expired,
                            &seen.first.map(|(at, _)| at),
                            &seen.first.map(|(_, tie)| tie),
                            &seen.next_due_in_ms,
                            &now,
                            &fleet.absent,
                            &fleet.not_back,
                            &fleet.workers,
                            &fleet.slots,
                        ],
                    )
                });
                rows.collect()
            }
            Statement::Rehearse => Vec::new(),
            Statement::Reap => {
                let (queues, missed): (Vec<String>, Vec<Uuid>) = (values.get(0)?, values.get(1)?);
                let reaped = self.reap(&queues, &missed, values.size(2)?, values.size(3)?, now);
                let rows = reaped.iter().map(|one| {
                    row(shape, &[&one.id, &one.state, &one.queue, &one.owner, &one.lease, &one.reason, &one.expired_s])
                });
                rows.collect()
            }
            Statement::QueuesOfWorkers => {
                let queues = self.queues_of_workers(&values.get::<Vec<Uuid>>(0)?);
                queues.iter().map(|queue| row(shape, &[queue])).collect()
            }
            Statement::Bury => {
                let gone = self.bury(&values.get::<Vec<Uuid>>(0)?, &values.get::<Vec<String>>(1)?, values.size(2)?);
                gone.iter().map(|worker| row(shape, &[worker])).collect()
            }
            Statement::QueueNames => self.queue_names().iter().map(|queue| row(shape, &[queue])).collect(),
            Statement::Register => {
                let pid = values.get::<bool>(9)?.then_some(pid);
                self.register(values.get(0)?, values.get(2)?, values.get(6)?, pid, now);
                Vec::new()
            }
            Statement::Heartbeat => {
                let answer = self.heartbeat(values.get(0)?, now);
                answer.iter().map(|draining| row(shape, &[draining])).collect()
            }
            Statement::StopWorker => {
                self.stop_worker(values.get(0)?);
                Vec::new()
            }
            other => return Err(format!("{other:?} is run elsewhere")),
        })
    }
}

fn claimed(shape: &Shape, job: &Job) -> Row {
    let json = |text: &str| RawValue::from_string(text.to_owned()).map(Json).expect("it came in as JSON");
    row(
        shape,
        &[
            &job.id,
            &job.kind,
            &job.priority,
            &job.next_run_at,
            &job.tie,
            &job.created_at,
            &job.lease.as_ref().map(|lease| lease.started_at),
            &job.attempts,
            &job.max_attempts,
            &job.crashes,
            &job.timeout_ms,
            &job.backoff_base_ms,
            &job.backoff_cap_ms,
            &None::<String>,
            &job.headers.as_deref().map(json),
            &json(&job.payload),
        ],
    )
}
