//! The tests that every store has to pass.

use dcms_domain::testing::port_suite::PortTest;

use crate::support::fresh_store;

fn on_a_fresh_store(test: PortTest) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let store = fresh_store().await;
        test(&store).await;
        store.close().await;
    });
}

dcms_domain::port_suite!(on_a_fresh_store);
