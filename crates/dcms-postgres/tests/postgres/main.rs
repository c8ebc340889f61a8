//! The adapter on a real PostgreSQL. Each test has a database of its own.

mod constraints;
mod contention;
mod front_desk;
mod grants;
mod outage;
mod ports;
mod privacy;
mod schema;
mod seals;
mod search;
mod support;
