use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{database, database_on, join_or_start};
use crate::testing::{
    OtherProcess, answers, connect, directory_from_input, kill, postmaster,
    say_ready_and_wait_for_the_end_of_input, temporary_directory, wait_until,
};
use crate::{LocalPostgresError, blocking};

const USER: &str = "throwaway::tests::uses_the_server_for_another_test";

#[tokio::test]
#[ignore = "the other process of other tests"]
async fn uses_the_server_for_another_test() {
    let directory = directory_from_input();
    let (server, presence) = blocking(move || join_or_start(Path::new(&directory), 0))
        .await
        .unwrap();
    say_ready_and_wait_for_the_end_of_input(&server.url("postgres"));
    drop(presence);
}

#[tokio::test]
#[ignore = "the other process of other tests"]
async fn has_a_private_server_for_another_test() {
    directory_from_input();
    let cluster = super::cluster().await.unwrap();
    let directory = cluster.server.directory().display();
    let text = format!("{} {directory}", cluster.url("postgres"));
    say_ready_and_wait_for_the_end_of_input(&text);
}

async fn create_table(url: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("CREATE TABLE things (thing text)")
        .execute(&mut connect(url).await)
        .await?;
    Ok(())
}

/// A template's name that no other run of these tests has used on the shared server.
fn unused_name(purpose: &str) -> String {
    let moment = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{purpose}_{moment}_{}", std::process::id())
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    static BUILDS: AtomicUsize = AtomicUsize::new(0);
    async fn test(template: String, number: i64) -> String {
        let database = database(&template, async |url: &str| {
            BUILDS.fetch_add(1, Ordering::SeqCst);
            create_table(url).await
        })
        .await
        .unwrap();
        let mut connection = connect(database.url()).await;
        sqlx::query("INSERT INTO things SELECT 'x' FROM generate_series(1, $1)")
            .bind(number)
            .execute(&mut connection)
            .await
            .unwrap();
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM things")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(count, number);
        database.url().to_owned()
    }
    let template = unused_name("isolated");
    let tests = (1..=20).map(|number| tokio::spawn(test(template.clone(), number)));
    let mut urls: Vec<String> = join_all(tests)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 20);
    assert_eq!(BUILDS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_database_of_a_test_that_is_over_is_dropped() {
    let template = unused_name("dropped");
    let name = template.clone();
    let earlier_test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let earlier = runtime.block_on(database(&name, create_table)).unwrap();
        let left_open = runtime.block_on(connect(earlier.url()));
        (earlier, left_open)
    });
    // A session left open must not keep it.
    let (earlier, _left_open) = earlier_test.join().unwrap();
    let own = database(&template, create_table).await.unwrap();
    // Another test may have begun to drop it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while answers(earlier.url()).await {
        assert!(Instant::now() < deadline, "it is still there");
    }
    assert!(answers(own.url()).await);
}

#[tokio::test]
async fn a_template_that_was_left_half_built_is_built_anew() {
    let template = unused_name("half");
    let failed = database(&template, async |url: &str| {
        create_table(url).await.unwrap();
        Err("half way")
    })
    .await
    .unwrap_err();
    assert!(matches!(failed, LocalPostgresError::Template(_)));

    // A session left open must not hinder the copies.
    let mut left_open = None;
    let database = database(&template, async |url: &str| {
        create_table(url).await.unwrap();
        left_open = Some(connect(url).await);
        Ok::<(), Infallible>(())
    })
    .await
    .unwrap();
    assert!(answers(database.url()).await);
}

#[tokio::test]
async fn it_ends_when_its_last_user_is_killed() {
    let directory = temporary_directory();
    let postgres = directory.path().join("postgres");
    let users: Vec<OtherProcess> = (0..4)
        .map(|_| OtherProcess::spawn(USER, directory.path()))
        .collect();
    let users: Vec<OtherProcess> = users
        .into_iter()
        .map(OtherProcess::wait_until_ready)
        .collect();
    let url = users[0].text.clone();
    for user in users {
        assert!(answers(&url).await);
        assert_eq!(user.text, url);
        user.kill();
    }
    wait_until("the data is gone", || !postgres.join("data").exists());
    wait_until("the watcher is gone", || !postgres.join("users").exists());
    assert!(!answers(&url).await);

    // And begins afresh for the next one.
    let user = OtherProcess::start(USER, directory.path());
    assert!(answers(&url).await);
    user.finish();
    wait_until("the data is gone", || !postgres.join("data").exists());
}

#[tokio::test]
async fn who_comes_while_it_ends_gets_a_fresh_one() {
    let directory = temporary_directory();
    let data = directory.path().join("postgres/data");
    for _ in 0..3 {
        OtherProcess::start(USER, directory.path()).kill();
        // Its watcher is about to delete the data, which a newcomer must not lose.
        wait_until("the server ends", || !data.join("postmaster.pid").exists());
        let path = directory.path().to_owned();
        let (server, presence) = blocking(move || join_or_start(&path, 0)).await.unwrap();
        let database = database_on(&server, "template", create_table)
            .await
            .unwrap();
        assert!(answers(database.url()).await);
        drop(presence);
    }
    wait_until("the data is gone", || !data.exists());
}

#[tokio::test]
async fn after_a_crash_the_next_user_gets_a_fresh_one() {
    let directory = temporary_directory();
    let user = OtherProcess::start(USER, directory.path());
    let data = directory.path().join("postgres/data");
    std::fs::write(data.join("of-the-crashed-one"), "").unwrap();
    kill(postmaster(&data));
    let another = OtherProcess::start(USER, directory.path());
    assert!(answers(&another.text).await);
    assert!(!data.join("of-the-crashed-one").exists());
    another.finish();
    user.finish();
    wait_until("the data is gone", || !data.exists());
}

#[tokio::test]
async fn a_private_server_stops_and_comes_back_with_its_data() {
    let cluster = super::cluster().await.unwrap();
    cluster.ensure_database("mine").await.unwrap();
    let url = cluster.url("mine");
    create_table(&url).await.unwrap();
    cluster.stop_now().await.unwrap();
    assert!(!answers(&url).await);
    cluster.start_again().await.unwrap();
    assert!(
        create_table(&url).await.is_err(),
        "the table is still there"
    );
    let directory = cluster.server.directory().to_owned();
    drop(cluster);
    assert!(!answers(&url).await);
    wait_until("its files are gone", || !directory.exists());
}

#[tokio::test]
async fn a_private_server_ends_with_its_process() {
    let helper = "throwaway::tests::has_a_private_server_for_another_test";
    let process = OtherProcess::start(helper, Path::new("unused"));
    let (url, directory) = process.text.split_once(' ').unwrap();
    let (url, directory) = (url.to_owned(), PathBuf::from(directory));
    assert!(answers(&url).await);
    process.kill();
    wait_until("its files are gone", || {
        !directory.parent().unwrap().exists()
    });
    assert!(!answers(&url).await);
}
