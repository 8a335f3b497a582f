//! Jobs: not built.

use crate::page::Entry;

pub(crate) const ENTRY: Entry =
    Entry { title: "Jobs", path: "/jobs", built: false, routes: || super::not_built("/jobs") };
