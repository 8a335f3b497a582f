//! The only crate of Faultline that knows Postgres: migrations, statements, connections
