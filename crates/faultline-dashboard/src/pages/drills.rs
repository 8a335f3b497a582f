//! Drills: not built.

use crate::page::Entry;

pub(crate) const ENTRY: Entry =
    Entry { title: "Drills", path: "/drills", built: false, routes: || super::not_built("/drills") };
