//! What is offered can be booked, and what can be booked on the grid is offered.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

mod brute_force;
mod fixed;
mod random;
