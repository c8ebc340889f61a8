-- The clinic, its rooms, and who sits in which chair when.

CREATE TABLE clinic_settings (
    -- There is one clinic: the only row has the only key.
    singleton            boolean     CONSTRAINT clinic_settings_pkey PRIMARY KEY DEFAULT true
        CONSTRAINT clinic_settings_singleton CHECK (singleton),
    clinic_name          text        NOT NULL
        CONSTRAINT clinic_settings_clinic_name_form CHECK (length(clinic_name) BETWEEN 1 AND 200),
    time_zone            text        NOT NULL
        CONSTRAINT clinic_settings_time_zone_form CHECK (length(time_zone) BETWEEN 1 AND 64),
    address              text
        CONSTRAINT clinic_settings_address_form CHECK (length(address) BETWEEN 1 AND 500),
    phone                text
        CONSTRAINT clinic_settings_phone_form CHECK (length(phone) BETWEEN 1 AND 40),
    email                text
        CONSTRAINT clinic_settings_email_form CHECK (length(email) BETWEEN 1 AND 254),
    currency             text        NOT NULL
        CONSTRAINT clinic_settings_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    default_slot_minutes integer     NOT NULL
        CONSTRAINT clinic_settings_default_slot_minutes_range
        CHECK (default_slot_minutes BETWEEN 5 AND 480),
    version              bigint      NOT NULL
        CONSTRAINT clinic_settings_version_positive CHECK (version > 0),
    updated_at           timestamptz NOT NULL
        CONSTRAINT clinic_settings_updated_at_sane CHECK (is_sane(updated_at))
);

INSERT INTO clinic_settings
    (clinic_name, time_zone, currency, default_slot_minutes, version, updated_at)
VALUES ('Dental clinic', 'UTC', 'EUR', 30, 1, timestamptz '2026-01-01 00:00:00+00');

CREATE TABLE rooms (
    room_id    uuid        CONSTRAINT rooms_pkey PRIMARY KEY,
    name       text        NOT NULL
        CONSTRAINT rooms_name_form CHECK (length(name) BETWEEN 1 AND 100),
    is_active  boolean     NOT NULL,
    version    bigint      NOT NULL CONSTRAINT rooms_version_positive CHECK (version > 0),
    created_at timestamptz NOT NULL CONSTRAINT rooms_created_at_sane CHECK (is_sane(created_at)),
    updated_at timestamptz NOT NULL CONSTRAINT rooms_updated_at_sane CHECK (is_sane(updated_at))
);

CREATE TABLE appointments (
    appointment_id  uuid        CONSTRAINT appointments_pkey PRIMARY KEY,
    patient_id      uuid        NOT NULL
        CONSTRAINT appointments_patient_id_fkey REFERENCES patients,
    doctor_id       uuid        NOT NULL
        CONSTRAINT appointments_doctor_id_fkey REFERENCES users,
    room_id         uuid
        CONSTRAINT appointments_room_id_fkey REFERENCES rooms,
    starts_at       timestamptz NOT NULL
        CONSTRAINT appointments_starts_at_sane CHECK (is_sane(starts_at)),
    ends_at         timestamptz NOT NULL
        CONSTRAINT appointments_ends_at_sane CHECK (is_sane(ends_at)),
    status          text        NOT NULL
        CONSTRAINT appointments_status_known CHECK (status IN
            ('scheduled', 'confirmed', 'arrived', 'in_chair', 'completed', 'cancelled', 'no_show')),
    notes           text
        CONSTRAINT appointments_notes_form CHECK (length(notes) BETWEEN 1 AND 10000),
    overbook_reason text
        CONSTRAINT appointments_overbook_reason_form
        CHECK (length(overbook_reason) BETWEEN 1 AND 500),
    cancel_reason   text
        CONSTRAINT appointments_cancel_reason_form CHECK (length(cancel_reason) BETWEEN 1 AND 500),
    version         bigint      NOT NULL
        CONSTRAINT appointments_version_positive CHECK (version > 0),
    created_at      timestamptz NOT NULL
        CONSTRAINT appointments_created_at_sane CHECK (is_sane(created_at)),
    updated_at      timestamptz NOT NULL
        CONSTRAINT appointments_updated_at_sane CHECK (is_sane(updated_at)),

    -- An empty range would overlap nothing, and one without bound everything.
    CONSTRAINT appointments_slot_form CHECK (
        starts_at < ends_at AND ends_at - starts_at <= interval '24 hours'
    ),
    CONSTRAINT appointments_cancelled_with_reason CHECK (
        (status = 'cancelled') = (cancel_reason IS NOT NULL)
    ),
    -- What an invoice refers to, so that it cannot charge one patient for another's visit.
    CONSTRAINT appointments_id_and_patient_key UNIQUE (appointment_id, patient_id),

    -- One place at a time. Half open, so that one visit may start when another ends.
    CONSTRAINT appointments_doctor_free EXCLUDE USING gist
        (doctor_id WITH =, tstzrange(starts_at, ends_at, '[)') WITH &&)
        WHERE (status NOT IN ('cancelled', 'no_show')),
    CONSTRAINT appointments_room_free EXCLUDE USING gist
        (room_id WITH =, tstzrange(starts_at, ends_at, '[)') WITH &&)
        WHERE (room_id IS NOT NULL AND status NOT IN ('cancelled', 'no_show')),
    CONSTRAINT appointments_patient_free EXCLUDE USING gist
        (patient_id WITH =, tstzrange(starts_at, ends_at, '[)') WITH &&)
        WHERE (status NOT IN ('cancelled', 'no_show'))
);
