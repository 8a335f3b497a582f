//! The HTTP API of Faultline
