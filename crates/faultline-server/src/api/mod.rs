//! The requests and answers of the API, a module for each group of routes.

pub(crate) mod enqueue;
pub(crate) mod jobs;
pub(crate) mod meta;
pub(crate) mod operate;
pub(crate) mod params;
pub(crate) mod queues;
pub(crate) mod request;
pub(crate) mod view;
