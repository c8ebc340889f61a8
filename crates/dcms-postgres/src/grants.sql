-- What the role of the application, dcms_app, may do; everything that is not granted here is
-- refused. The owner runs this after each migration, as one transaction.
--
-- A new table, sequence or function gets a line in the second part, and a new column that is
-- updated joins its table's UPDATE: whatever the application's SQL needs, and no more. Tests hold
-- this file against the schema and against what the role may do.

-- Part one: whoever had what is forgotten.

-- Two that grant at once would trip over each other's rows of the catalogs.
SELECT pg_advisory_xact_lock(hashtextextended('dcms grants', 0));

DO $$
DECLARE
    revocation text;
BEGIN
    -- What belongs to an extension is left as it was made, as is what others own here: only those
    -- who own it may change it.
    FOR revocation IN
        SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC, dcms_app', current_database())
        UNION ALL
        SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC, dcms_app'
        UNION ALL
        SELECT format(
            'REVOKE ALL ON %s %s FROM PUBLIC, dcms_app CASCADE',
            CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass
        )
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            AND pg_has_role(relowner, 'USAGE')
            AND NOT EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
            )
        UNION ALL
        SELECT format('REVOKE ALL ON ROUTINE %s FROM PUBLIC, dcms_app CASCADE', oid::regprocedure)
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND pg_has_role(proowner, 'USAGE')
            AND NOT EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE revocation;
    END LOOP;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO dcms_app', current_database());
END $$;

-- Part two: what the application needs. Keys, times of creation and whatever else never changes
-- are in no UPDATE. A row that is locked needs the UPDATE of some column.

GRANT USAGE ON SCHEMA public TO dcms_app;

-- Which migrations were applied: to tell whether the server is ready.
GRANT SELECT ON _sqlx_migrations TO dcms_app;

-- Identity. Users are disabled, never deleted; sessions are revoked.
GRANT SELECT, INSERT,
    UPDATE (
        username, display_name, password_hash, roles, is_active, must_change_password, version,
        updated_at
    )
    ON users TO dcms_app;
-- Sessions that ended long ago are forgotten.
GRANT SELECT, INSERT, UPDATE (token_hash, last_seen_at, revoked_at), DELETE ON sessions TO dcms_app;
GRANT SELECT, INSERT ON retired_tokens TO dcms_app;
GRANT SELECT, INSERT, UPDATE (failures, last_failed_at, blocked_until), DELETE
    ON login_throttles TO dcms_app;

-- Clinic. Its settings are a row that a migration made.
GRANT SELECT,
    UPDATE (
        clinic_name, time_zone, address, phone, email, currency, default_slot_minutes,
        slot_grid_minutes, smallest_notice_minutes, largest_notice_days, version, updated_at
    )
    ON clinic_settings TO dcms_app;
GRANT SELECT, INSERT, UPDATE (name, is_active, kind, position, version, updated_at), DELETE
    ON rooms TO dcms_app;
GRANT SELECT, INSERT, UPDATE (usual_room_id, version, updated_at) ON doctor_settings TO dcms_app;

-- Hours, closures and time off.
GRANT SELECT, INSERT, UPDATE (version, updated_at) ON schedules TO dcms_app;
GRANT SELECT, INSERT, DELETE ON weekly_plans TO dcms_app;
-- Deleted with their plan.
GRANT SELECT, INSERT ON weekly_plan_intervals TO dcms_app;
GRANT SELECT, INSERT, DELETE ON closures TO dcms_app;
GRANT SELECT, INSERT, DELETE ON time_off TO dcms_app;

-- Patients. A register number is for ever.
GRANT SELECT, INSERT,
    UPDATE (
        first_name, last_name, birthday, gender, notes, archived_at, anonymized_at, version,
        updated_at
    ),
    DELETE
    ON patients TO dcms_app;
GRANT SELECT, INSERT,
    UPDATE (type, value, label, is_primary, version, updated_at),
    DELETE
    ON patient_contacts TO dcms_app;
GRANT USAGE ON SEQUENCE register_numbers TO dcms_app;

-- Appointments. They are cancelled, never deleted, and stay with their patient.
GRANT SELECT, INSERT,
    UPDATE (
        doctor_id, room_id, starts_at, ends_at, room_free_at, status, arrived_at, seated_at,
        completed_at, notes, overbook_reason, accepted_obstacles, cancel_reason, version, updated_at
    )
    ON appointments TO dcms_app;
GRANT SELECT, INSERT, UPDATE (service_id, qty, unit_price_cents), DELETE
    ON appointment_services TO dcms_app;
-- Rows are added, and get their positions; what they tell is never changed.
GRANT SELECT, INSERT, UPDATE (position) ON appointment_history TO dcms_app;
GRANT USAGE ON SEQUENCE appointment_history_positions TO dcms_app;
-- Runs as the owner: what people wrote goes only when its patient is nobody.
GRANT EXECUTE ON FUNCTION redact_history_of(uuid) TO dcms_app;

-- Catalog.
GRANT SELECT, INSERT,
    UPDATE (
        code, name, current_price_cents, default_duration_minutes, is_active, buffer_minutes,
        room_kind, version, updated_at
    ),
    DELETE
    ON services TO dcms_app;
GRANT SELECT, INSERT, DELETE ON service_doctors TO dcms_app;

-- Billing. Drafts are deleted; triggers keep what was issued. Money is never taken back, only
-- refunded.
GRANT SELECT, INSERT,
    UPDATE (
        appointment_id, currency, total_cents, paid_cents, invoice_number, issued_at, voided_at,
        void_reason, version, updated_at
    ),
    DELETE
    ON invoices TO dcms_app;
GRANT SELECT, INSERT,
    UPDATE (position, service_id, description_snapshot, unit_price_snapshot_cents, qty),
    DELETE
    ON invoice_items TO dcms_app;
GRANT SELECT, UPDATE (last_sequence) ON invoice_numbering TO dcms_app;
GRANT SELECT, INSERT, UPDATE (refunded_cents, version) ON payments TO dcms_app;
GRANT SELECT, INSERT ON refunds TO dcms_app;
-- Runs as the owner: what people wrote into the books goes only when its patient is nobody.
GRANT EXECUTE ON FUNCTION redact_money_of(uuid) TO dcms_app;

-- Answers to requests that may come again.
GRANT SELECT, INSERT,
    UPDATE (user_id, fingerprint, patient_id, answered_at, status, location, entity_tag, body),
    DELETE
    ON idempotency_keys TO dcms_app;

-- The audit log. Rows are added and never changed, nor are the seals on them.
GRANT SELECT, INSERT ON audit_log TO dcms_app;
GRANT SELECT, INSERT ON audit_seals TO dcms_app;
GRANT SELECT, INSERT ON audit_sealed_rows TO dcms_app;
GRANT EXECUTE ON FUNCTION audit_changes_digest(bytea,jsonb) TO dcms_app;
GRANT EXECUTE ON FUNCTION audit_row_digest(audit_log) TO dcms_app;
GRANT EXECUTE ON FUNCTION
    audit_seal_hash(bigint,timestamp with time zone,bytea,bytea) TO dcms_app;
-- Runs as the owner: the one way in which rows of the log lose something.
GRANT EXECUTE ON FUNCTION redact_audit_of(uuid) TO dcms_app;

-- Functions that constraints, generated columns and searches call as whoever writes or asks.
-- Those of triggers run without.
GRANT EXECUTE ON FUNCTION are_obstacles(text[]) TO dcms_app;
GRANT EXECUTE ON FUNCTION is_sane(timestamp with time zone) TO dcms_app;
GRANT EXECUTE ON FUNCTION is_sane_wall_time(timestamp without time zone) TO dcms_app;
GRANT EXECUTE ON FUNCTION folded(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION words_of(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION slips_of(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION search_terms_of(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION with_parts(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION with_words(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION with_beginnings(text) TO dcms_app;
GRANT EXECUTE ON FUNCTION with_slips(text) TO dcms_app;
