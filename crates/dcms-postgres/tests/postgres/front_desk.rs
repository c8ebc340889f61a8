//! The front desk's day stays fast while the clinic grows old.

use sqlx::AssertSqlSafe;

use crate::support::{execute, migrated_database, raw_connection};

const FRONT_DESK: &str = include_str!("../../src/front_desk.sql");

/// However much there is, what grows is only ever looked up by index: also where the arguments are
/// not known when the plan is made.
#[tokio::test]
async fn what_grows_is_looked_up_by_index() {
    let database = migrated_database().await;
    let url = database.url();
    execute(
        url,
        "INSERT INTO users (user_id, username, display_name, password_hash, roles, is_active,
            version, created_at, updated_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'doctor' || n,
            'Doctor', '$argon2id$', '{doctor}', true, 1, '2026-01-01Z', '2026-01-01Z'
        FROM generate_series(1, 20) AS n;
        INSERT INTO patients (patient_id, register_number, first_name, last_name, gender, version,
            created_at, updated_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n,
            'First', 'Last', 'unknown', 1, '2026-01-01Z', '2026-01-01Z'
        FROM generate_series(1, 5000) AS n;
        INSERT INTO patient_contacts (contact_id, patient_id, type, value, is_primary, version,
            created_at, updated_at)
        SELECT patient_id, patient_id, 'phone', '030 1', true, 1, created_at, updated_at
        FROM patients;
        INSERT INTO appointments (appointment_id, patient_id, doctor_id, starts_at, ends_at, status,
            version, created_at, updated_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad(to_hex(n % 5000 + 1), 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad(to_hex(n % 20 + 1), 12, '0'))::uuid,
            timestamptz '2020-01-01Z' + (n / 20) * interval '30 minutes',
            timestamptz '2020-01-01Z' + (n / 20 + 1) * interval '30 minutes',
            CASE WHEN n % 10 = 0 THEN 'no_show' ELSE 'completed' END, 1, '2026-01-01Z', '2026-01-01Z'
        FROM generate_series(0, 39999) AS n;
        INSERT INTO invoices (invoice_id, patient_id, currency, total_cents, paid_cents, version,
            created_at, updated_at)
        SELECT patient_id, patient_id, 'EUR', 0, 0, 1, created_at, updated_at FROM patients;
        ANALYZE",
    )
    .await;
    // Names of columns for the compiler mean nothing to the database.
    let mut connection = raw_connection(url).await;
    let prepare = format!(
        "PREPARE front_desk (uuid, uuid, uuid, text, timestamptz, timestamptz, timestamptz, uuid,
            bigint, integer) AS {FRONT_DESK}"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut connection)
        .await
        .expect("it is prepared");
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}")))
            .execute(&mut connection)
            .await
            .expect("it is set");
        let plan: Vec<String> = sqlx::query_scalar(
            "EXPLAIN EXECUTE front_desk(NULL, NULL, NULL, NULL, '2020-01-20Z', '2020-01-21Z', NULL,
                NULL, 201, 8760)",
        )
        .fetch_all(&mut connection)
        .await
        .expect("it is explained");
        let plan = plan.join("\n");
        for table in ["appointments", "patients", "patient_contacts", "invoices"] {
            assert!(
                !plan.contains(&format!("Seq Scan on {table}")),
                "{mode}\n{plan}"
            );
        }
    }
}
