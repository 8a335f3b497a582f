//! What is wrong with a queue or a worker, and why, in words.

use crate::parts::{Tone, count, jobs, of_them, span};
use faultline_store::dashboard::queues::QueueNow;
use faultline_store::read::Worker;

/// How long a job may be due before its queue is in trouble, in seconds, where nothing else is wrong.
const LONG_DUE_S: f64 = 60.0;

/// Something that somebody should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) tone: Tone,
    /// What it is, in a word or two.
    pub(crate) word: &'static str,
    /// Why, in a sentence, and what to do.
    pub(crate) why: String,
}

/// What is wrong with a queue; none if nothing is, or if it is paused and nothing waits.
pub(crate) fn of_queue(queue: &QueueNow) -> Option<Trouble> {
    let due = queue.due.jobs;
    let trouble = |tone, word, why| Some(Trouble { tone, word, why });
    let due_words = || format!("{} {} due", jobs(queue.due), if due == 1 { "job is" } else { "jobs are" });
    if due == 0 {
        return None;
    }
    if queue.paused_at.is_some() {
        return trouble(Tone::Warn, "paused", format!("{}; none starts until the queue is resumed.", due_words()));
    }
    if queue.workers == 0 {
        return trouble(Tone::Bad, "no worker", format!("{}, and no live worker polls this queue.", due_words()));
    }
    let late_s = queue.oldest_due_s.filter(|seconds| *seconds > LONG_DUE_S)?;
    let is_full = queue.running.jobs >= queue.slots;
    let why = if is_full {
        format!(
            "The oldest due job waits for {}: all {} of its workers are busy.",
            span(late_s),
            of_them(queue.slots, "slot", "slots")
        )
    } else {
        format!(
            "The oldest due job waits for {} although only {} of {} slots are busy: its kind may be unknown to the workers.",
            span(late_s),
            jobs(queue.running),
            count(queue.slots, false)
        )
    };
    trouble(Tone::Warn, if is_full { "behind" } else { "stuck" }, why)
}

/// What is wrong with a worker, where what runs under its leases was not read.
pub(crate) fn of_worker_alone(worker: &Worker) -> Option<Trouble> {
    let why = "It went silent without saying goodbye: what it ran is put back.".to_owned();
    of_worker(worker, 0).map(|trouble| Trouble { why, ..trouble })
}

/// What is wrong with a worker, of which `leases` are still known.
pub(crate) fn of_worker(worker: &Worker, leases: usize) -> Option<Trouble> {
    if worker.alive || worker.stopped_at.is_some() {
        return None;
    }
    let leases = i64::try_from(leases).unwrap_or(i64::MAX);
    let jobs = match leases {
        0 => "Nothing runs under its leases any more.".to_owned(),
        leases => {
            format!("{} still under its leases, and put back when these expire.", of_them(leases, "job is", "jobs are"))
        }
    };
    Some(Trouble { tone: Tone::Bad, word: "lost", why: format!("It went silent without saying goodbye. {jobs}") })
}

#[cfg(test)]
mod tests {
    use super::{of_queue, of_worker};
    use crate::parts::Tone;
    use crate::samples;
    use faultline_store::dashboard::queues::Count;

    #[test]
    fn a_queue_is_in_trouble_for_the_reason_that_explains_most() {
        let mut queue = samples::queue("q");
        assert_eq!(of_queue(&queue), None);
        queue.due = Count::exact(3);
        assert_eq!(of_queue(&queue), None, "jobs that have just come due are no trouble");
        queue.oldest_due_s = Some(300.0);
        let stuck = of_queue(&queue).expect("trouble");
        assert_eq!((stuck.word, stuck.tone), ("stuck", Tone::Warn));
        assert!(stuck.why.contains("5 min") && stuck.why.contains("0 of 10 slots"), "{}", stuck.why);
        queue.running = Count::exact(10);
        let behind = of_queue(&queue).expect("trouble");
        assert_eq!(behind.word, "behind");
        assert!(behind.why.contains("all 10 slots"), "{}", behind.why);
        queue.workers = 0;
        let alone = of_queue(&queue).expect("trouble");
        assert_eq!((alone.word, alone.tone), ("no worker", Tone::Bad));
        assert!(alone.why.starts_with("3 jobs are due"), "{}", alone.why);
        queue.paused_at = Some(samples::now());
        assert_eq!(of_queue(&queue).expect("trouble").word, "paused");
    }

    #[test]
    fn a_worker_that_is_silent_is_lost_and_one_that_stopped_is_not() {
        let mut worker = samples::worker(1);
        assert_eq!(of_worker(&worker, 1), None);
        worker.alive = false;
        assert!(of_worker(&worker, 1).expect("trouble").why.contains("1 job is still under its leases"));
        assert!(of_worker(&worker, 0).expect("trouble").why.contains("Nothing runs"));
        worker.stopped_at = Some(samples::now());
        assert_eq!(of_worker(&worker, 0), None);
    }
}
