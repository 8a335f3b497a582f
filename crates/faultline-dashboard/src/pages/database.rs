//! Database: not built.

use crate::page::Entry;

pub(crate) const ENTRY: Entry =
    Entry { title: "Database", path: "/database", built: false, routes: || super::not_built("/database") };
