//! Builds anew when a migration is added: `sqlx::migrate!` alone only notices changed ones.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
