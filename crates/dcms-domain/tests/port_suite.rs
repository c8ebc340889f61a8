//! The in-memory store passes the suite that PostgreSQL has to pass.

use dcms_domain::testing::InMemoryStore;
use dcms_domain::testing::port_suite::PortTest;

fn on_a_fresh_store(test: PortTest) {
    let store = InMemoryStore::default();
    pollster::block_on(test(&store));
}

dcms_domain::port_suite!(on_a_fresh_store);
