-- A page of visits with what the front desk wants to know of each. What is on the page is found as
-- in a list; all that is around a visit is looked up by index, for the visits of the page only.
SELECT
    visit.appointment_id, visit.patient_id, visit.doctor_id, visit.room_id, visit.starts_at,
    visit.ends_at, visit.room_free_at, visit.status, visit.arrived_at, visit.seated_at,
    visit.completed_at, visit.notes, visit.overbook_reason, visit.accepted_obstacles,
    visit.cancel_reason, visit.version, visit.created_at, visit.updated_at,
    coalesce(planned.service_ids, '{}') AS "service_ids!",
    coalesce(planned.quantities, '{}') AS "quantities!",
    coalesce(planned.unit_prices, '{}') AS "unit_prices!: Vec<Option<i64>>",
    patient.register_number, patient.first_name, patient.last_name, patient.birthday,
    doctor.display_name AS doctor_name,
    (SELECT name FROM rooms WHERE rooms.room_id = visit.room_id) AS "room_name?",
    (
        SELECT value FROM patient_contacts AS contact
        WHERE contact.patient_id = visit.patient_id AND type = 'phone'
        ORDER BY is_primary DESC, contact_id LIMIT 1
    ) AS "phone?",
    -- More than a bigint holds cannot be owed by anybody, but it can be charged.
    (
        SELECT least(coalesce(sum(total_cents - paid_cents), 0), 9223372036854775807)::bigint
        FROM invoices AS invoice
        WHERE invoice.patient_id = visit.patient_id
            AND issued_at IS NOT NULL AND voided_at IS NULL
    ) AS "balance!",
    NOT EXISTS (
        SELECT FROM appointments AS earlier
        WHERE earlier.patient_id = visit.patient_id AND earlier.starts_at < visit.starts_at
            AND earlier.status NOT IN ('cancelled', 'no_show')
    ) AS "is_first!",
    (
        SELECT count(*) FROM appointments AS missed
        WHERE missed.patient_id = visit.patient_id AND missed.status = 'no_show'
            AND missed.starts_at >= visit.starts_at - make_interval(hours => $10)
            AND missed.starts_at < visit.starts_at
    ) AS "no_shows!"
FROM (
    SELECT * FROM appointments
    WHERE ($1::uuid IS NULL OR doctor_id = $1)
        AND ($2::uuid IS NULL OR patient_id = $2)
        AND ($3::uuid IS NULL OR room_id = $3)
        AND ($4::text IS NULL OR status = $4)
        AND starts_at > coalesce($5::timestamptz - interval '24 hours', '-infinity')
        AND ends_at > coalesce($5, '-infinity')
        AND starts_at < coalesce($6, timestamptz 'infinity')
        AND ($5 < $6) IS NOT FALSE
        AND (starts_at, appointment_id) > (
            coalesce($7, timestamptz '-infinity'),
            coalesce($8, uuid '00000000-0000-0000-0000-000000000000')
        )
    ORDER BY starts_at, appointment_id LIMIT $9
) AS visit
CROSS JOIN LATERAL (
    SELECT array_agg(service_id ORDER BY position) AS service_ids,
        array_agg(qty ORDER BY position) AS quantities,
        array_agg(unit_price_cents ORDER BY position) AS unit_prices
    FROM appointment_services
    WHERE appointment_services.appointment_id = visit.appointment_id
) AS planned
JOIN patients AS patient ON patient.patient_id = visit.patient_id
JOIN users AS doctor ON doctor.user_id = visit.doctor_id
ORDER BY visit.starts_at, visit.appointment_id
