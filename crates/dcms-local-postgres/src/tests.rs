use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::binaries::Search;
use crate::testing::{
    OtherProcess, answers, connect, directory_from_input, kill, postmaster,
    say_ready_and_wait_for_the_end_of_input, temporary_directory,
};
use crate::{LocalPostgres, LocalPostgresError, account, download};

const HOLDER: &str = "tests::holds_a_server_for_another_test";

#[tokio::test]
#[ignore = "the other process of other tests"]
async fn holds_a_server_for_another_test() {
    let directory = directory_from_input();
    let server = LocalPostgres::start(Path::new(&directory)).await.unwrap();
    say_ready_and_wait_for_the_end_of_input(&server.url("postgres"));
    server.leave().await.unwrap();
}

async fn value(url: &str, query: &'static str) -> String {
    let row = sqlx::query(query)
        .fetch_one(&mut connect(url).await)
        .await
        .unwrap();
    row.get(0)
}

async fn run(url: &str, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(&mut connect(url).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_a_restart() {
    let directory = temporary_directory();
    let server = LocalPostgres::start(directory.path()).await.unwrap();
    server.ensure_database("dcms \"x\"").await.unwrap();
    server.ensure_database("dcms \"x\"").await.unwrap();
    let url = server.url("dcms \"x\"");
    run(&url, "CREATE TABLE kept AS SELECT 'it' AS what").await;
    server.leave().await.unwrap();
    assert!(!answers(&url).await);

    let server = LocalPostgres::start(directory.path()).await.unwrap();
    assert_eq!(server.url("dcms \"x\""), url);
    assert_eq!(value(&url, "SELECT what FROM kept").await, "it");
}

#[tokio::test]
async fn it_is_durable_and_set_up_for_dcms() {
    let directory = temporary_directory();
    let server = LocalPostgres::start(directory.path()).await.unwrap();
    let url = server.url("postgres");
    for (query, expected) in [
        ("SHOW fsync", "on"),
        ("SHOW synchronous_commit", "on"),
        ("SHOW full_page_writes", "on"),
        ("SHOW data_checksums", "on"),
        ("SHOW server_encoding", "UTF8"),
        ("SHOW timezone", "UTC"),
        ("SHOW listen_addresses", ""),
        ("SELECT lower('ÄÖÉ')", "äöé"),
        ("SELECT max(t) FROM (VALUES ('a'), ('B')) AS v (t)", "a"),
    ] {
        assert_eq!(value(&url, query).await, expected, "{query}");
    }
    if cfg!(target_os = "linux") {
        assert_eq!(
            value(&url, "SHOW recovery_init_sync_method").await,
            "syncfs"
        );
    }
    let statements =
        "CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm; CREATE EXTENSION unaccent";
    run(&url, statements).await;
}

#[tokio::test]
async fn the_last_to_leave_stops_it() {
    let directory = temporary_directory();
    let first = LocalPostgres::start(directory.path()).await.unwrap();
    let started = Instant::now();
    let second = LocalPostgres::start(directory.path()).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "joining starts nothing"
    );
    let third = OtherProcess::start(HOLDER, directory.path());
    let url = first.url("postgres");
    assert_eq!(third.text, url);

    first.leave().await.unwrap();
    assert!(answers(&url).await);
    drop(second);
    assert!(answers(&url).await);
    third.finish();
    assert!(!answers(&url).await);
}

#[tokio::test]
async fn many_may_start_at_once_on_a_fresh_directory() {
    let directory = temporary_directory();
    let data_dir = directory.path().join("not/there/yet");
    let others: Vec<OtherProcess> = (0..3)
        .map(|_| OtherProcess::spawn(HOLDER, &data_dir))
        .collect();
    let (first, second) = tokio::join!(
        LocalPostgres::start(&data_dir),
        LocalPostgres::start(&data_dir)
    );
    let url = first.as_ref().unwrap().url("postgres");
    let others: Vec<OtherProcess> = others
        .into_iter()
        .map(OtherProcess::wait_until_ready)
        .collect();
    drop((first.unwrap(), second.unwrap()));
    for other in others {
        assert!(answers(&url).await);
        assert_eq!(other.text, url);
        other.finish();
    }
    assert!(!answers(&url).await);
}

#[tokio::test]
async fn a_killed_owner_leaves_a_server_that_the_next_one_joins_and_stops() {
    let directory = temporary_directory();
    let owner = OtherProcess::start(HOLDER, directory.path());
    let data = directory.path().join("postgres/data");
    let process = postmaster(&data);
    owner.kill();

    let server = LocalPostgres::start(directory.path()).await.unwrap();
    let url = server.url("postgres");
    assert!(answers(&url).await);
    assert_eq!(postmaster(&data), process);
    server.leave().await.unwrap();
    assert!(!answers(&url).await);
}

#[tokio::test]
async fn it_starts_again_after_a_killed_postmaster() {
    let directory = temporary_directory();
    let server = LocalPostgres::start(directory.path()).await.unwrap();
    let url = server.url("postgres");
    run(&url, "CREATE TABLE kept AS SELECT 'it' AS what").await;
    let data = directory.path().join("postgres/data");
    kill(postmaster(&data));

    let again = LocalPostgres::start(directory.path()).await.unwrap();
    assert_eq!(value(&url, "SELECT what FROM kept").await, "it");
    drop(again);
    drop(server);
    assert!(!answers(&url).await);
}

#[tokio::test]
async fn it_starts_again_when_another_process_has_the_killed_postmasters_id() {
    let directory = temporary_directory();
    let owner = OtherProcess::start(HOLDER, directory.path());
    let postgres = directory.path().join("postgres");
    let data = postgres.join("data");
    kill(postmaster(&data));
    owner.kill();
    let mut stranger = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    for lock_file in [
        data.join("postmaster.pid"),
        postgres.join("run/.s.PGSQL.5432.lock"),
    ] {
        let contents = fs::read_to_string(&lock_file).unwrap();
        let (_, rest) = contents.split_once('\n').unwrap();
        fs::write(&lock_file, format!("{}\n{rest}", stranger.id())).unwrap();
    }

    let server = LocalPostgres::start(directory.path()).await.unwrap();
    let url = server.url("postgres");
    assert!(answers(&url).await);
    server.leave().await.unwrap();
    assert!(!answers(&url).await);
    assert_eq!(
        stranger.try_wait().unwrap(),
        None,
        "it has to be left alone"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_deep_directory_with_odd_characters_gets_a_short_socket() {
    let directory = temporary_directory();
    let data_dir = directory.path().join("deep, 'odd' + ü ".repeat(8));
    let server = LocalPostgres::start(&data_dir).await.unwrap();
    let url = server.url("postgres");
    assert!(answers(&url).await);
    let joined = LocalPostgres::start(&data_dir).await.unwrap();
    assert_eq!(joined.url("postgres"), url);
    drop((server, joined));
    assert!(!answers(&url).await);

    let socket = fs::read_to_string(data_dir.join("postgres/socket-directory")).unwrap();
    assert!(socket.len() < 85, "{socket}");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::remove_dir(socket).unwrap();
}

#[tokio::test]
async fn a_directory_that_only_this_user_may_enter_works_for_root_too() {
    let directory = temporary_directory();
    let elsewhere = directory.path().join("elsewhere");
    let private = directory.path().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let start = || LocalPostgres::start_with(&private, Search::of_this_machine(), &elsewhere);

    let server = start().await.unwrap();
    let url = server.url("postgres");
    run(&url, "CREATE TABLE kept AS SELECT 'it' AS what").await;
    server.leave().await.unwrap();
    let server = start().await.unwrap();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(value(&url, "SELECT what FROM kept").await, "it");

    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(private.join("postgres").is_symlink(), is_root);
}

#[tokio::test]
async fn a_terminals_interrupt_does_not_reach_it() {
    let directory = temporary_directory();
    let _server = LocalPostgres::start(directory.path()).await.unwrap();
    let process = postmaster(&directory.path().join("postgres/data"));
    let group = rustix::process::getpgid(Some(process)).unwrap();
    assert_ne!(group, rustix::process::getpgrp());
}

#[tokio::test]
async fn when_it_does_not_start_its_own_words_say_why() {
    let directory = temporary_directory();
    let server = LocalPostgres::start(directory.path()).await.unwrap();
    server.leave().await.unwrap();
    let configuration = directory.path().join("postgres/data/postgresql.auto.conf");
    fs::write(configuration, "no_such_setting = 1\n").unwrap();

    let error = LocalPostgres::start(directory.path()).await.unwrap_err();
    assert!(matches!(error, LocalPostgresError::DidNotStart { .. }));
    assert_is_one_line(&error, "FATAL");
    assert_is_one_line(&error, "contains errors");
}

fn nowhere(cache: &Path) -> Search {
    Search {
        configured: None,
        directories: Vec::new(),
        download: download::Source {
            releases: "http://127.0.0.1:9/nothing".to_owned(),
            cache: Some(cache.to_owned()),
        },
    }
}

fn assert_is_one_line(error: &LocalPostgresError, part: &str) {
    let text = error.to_string();
    assert!(text.contains(part), "{part:?} is not in: {text}");
    assert!(!text.contains('\n'), "{text}");
}

async fn start_with(data_dir: &Path, search: Search) -> Result<LocalPostgres, LocalPostgresError> {
    LocalPostgres::start_with(data_dir, search, Path::new(account::DATA_DIRECTORY_OF_ROOT)).await
}

#[tokio::test]
async fn without_any_postgresql_one_line_says_what_to_install() {
    let directory = temporary_directory();
    let started = Instant::now();
    let error = start_with(directory.path(), nowhere(directory.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, LocalPostgresError::NotInstalled { .. }));
    assert_is_one_line(&error, "DCMS_PG_BIN");
    assert_is_one_line(&error, "DATABASE_URL");
    assert_is_one_line(&error, "install postgresql");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn data_of_another_major_version_is_not_touched() {
    let directory = temporary_directory();
    let data = directory.path().join("postgres/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let search = Search {
        directories: Search::of_this_machine().directories,
        ..nowhere(directory.path())
    };
    let error = start_with(directory.path(), search).await.unwrap_err();
    assert!(matches!(
        error,
        LocalPostgresError::MajorVersionNotInstalled { major: 9, .. }
    ));
    assert_is_one_line(&error, "install PostgreSQL 9");
}

#[tokio::test]
async fn a_directory_with_some_of_the_programs_is_passed_over() {
    let directory = temporary_directory();
    let lonely = directory.path().join("bin");
    fs::create_dir(&lonely).unwrap();
    let installed = installed_programs(directory.path());
    for program in ["initdb", "pg_ctl"] {
        std::os::unix::fs::symlink(installed.join(program), lonely.join(program)).unwrap();
    }
    let data_dir = directory.path().join("data");

    let configured = Search {
        configured: Some(lonely.clone()),
        directories: vec![installed.clone()],
        ..nowhere(directory.path())
    };
    let error = start_with(&data_dir, configured).await.unwrap_err();
    assert!(matches!(
        error,
        LocalPostgresError::ConfiguredBinaries { .. }
    ));
    assert_is_one_line(&error, "it has no program postgres");

    let search = Search {
        directories: vec![lonely, installed],
        ..nowhere(directory.path())
    };
    start_with(&data_dir, search).await.unwrap();
}

fn installed_programs(directory: &Path) -> PathBuf {
    let (_, account) = account::postgres_directory(directory, directory).unwrap();
    let nothing = directory.join("no-data");
    let binaries = Search::of_this_machine().find(&account, &nothing).unwrap();
    binaries.directory
}

#[tokio::test]
async fn a_download_is_used_when_its_checksum_is_right() {
    let directory = temporary_directory();
    let installed = installed_programs(directory.path());
    let archive = archive_that_calls(&installed);
    let right = format!("{:x}  archive.tar.gz\n", Sha256::digest(&archive));
    let wrong = format!("{:x}  archive.tar.gz\n", Sha256::digest(b"other"));
    let cache = directory.path().join("cache");
    let search = |releases: String| Search {
        download: download::Source {
            releases,
            cache: Some(cache.clone()),
        },
        ..nowhere(directory.path())
    };

    let forged = serve(archive.clone(), wrong);
    let error = start_with(directory.path(), search(forged))
        .await
        .unwrap_err();
    assert_is_one_line(&error, "checksum is wrong");
    assert!(!cache.exists());

    let genuine = serve(archive, right);
    let server = start_with(directory.path(), search(genuine)).await.unwrap();
    assert!(answers(&server.url("postgres")).await);
    server.leave().await.unwrap();
    // What was unpacked needs no network.
    let offline = search("http://127.0.0.1:9/nothing".to_owned());
    let new_data_dir = directory.path().join("new");
    start_with(&new_data_dir, offline).await.unwrap();
}

/// A release whose programs are scripts that call those in `installed`.
fn archive_that_calls(installed: &Path) -> Vec<u8> {
    let (_, name) = download::version_and_name(None).unwrap();
    let compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(compressed);
    for program in ["initdb", "pg_ctl", "postgres"] {
        let script = format!(
            "#!/bin/sh\nexec '{}' \"$@\"\n",
            installed.join(program).display()
        );
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len().try_into().unwrap());
        header.set_mode(0o755);
        let path = format!("{name}/bin/{program}");
        archive
            .append_data(&mut header, path, script.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Serves an archive and its checksum over HTTP until the test program ends.
fn serve(archive: Vec<u8>, checksum: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]);
            let body = if request.lines().next().unwrap().contains(".sha256") {
                checksum.as_bytes()
            } else {
                &archive
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            connection.write_all(head.as_bytes()).unwrap();
            connection.write_all(body).unwrap();
        }
    });
    format!("http://{address}")
}
