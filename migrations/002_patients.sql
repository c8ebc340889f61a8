-- Patients and how to reach them.

-- Numbers may be skipped when a registration is rolled back; none is ever given twice.
CREATE SEQUENCE register_numbers AS bigint;

CREATE TABLE patients (
    patient_id      uuid        CONSTRAINT patients_pkey PRIMARY KEY,
    register_number bigint      NOT NULL
        CONSTRAINT patients_register_number_key UNIQUE
        CONSTRAINT patients_register_number_positive CHECK (register_number > 0),
    first_name      text        NOT NULL
        CONSTRAINT patients_first_name_form CHECK (length(first_name) BETWEEN 1 AND 100),
    last_name       text        NOT NULL
        CONSTRAINT patients_last_name_form CHECK (length(last_name) BETWEEN 1 AND 100),
    birthday        date
        CONSTRAINT patients_birthday_sane CHECK (
            isfinite(birthday) AND birthday >= date '1900-01-01' AND birthday < date '2200-01-01'
        ),
    gender          text        NOT NULL
        CONSTRAINT patients_gender_known CHECK (gender IN ('female', 'male', 'other', 'unknown')),
    notes           text
        CONSTRAINT patients_notes_form CHECK (length(notes) BETWEEN 1 AND 10000),
    archived_at     timestamptz
        CONSTRAINT patients_archived_at_sane CHECK (is_sane(archived_at)),
    version         bigint      NOT NULL CONSTRAINT patients_version_positive CHECK (version > 0),
    created_at      timestamptz NOT NULL
        CONSTRAINT patients_created_at_sane CHECK (is_sane(created_at)),
    updated_at      timestamptz NOT NULL
        CONSTRAINT patients_updated_at_sane CHECK (is_sane(updated_at)),
    search_name     text        NOT NULL
        GENERATED ALWAYS AS (public.folded(first_name || ' ' || last_name)) STORED
);

CREATE TABLE patient_contacts (
    contact_id   uuid        CONSTRAINT patient_contacts_pkey PRIMARY KEY,
    patient_id   uuid        NOT NULL
        CONSTRAINT patient_contacts_patient_id_fkey REFERENCES patients ON DELETE CASCADE,
    type         text        NOT NULL
        CONSTRAINT patient_contacts_type_known CHECK (type IN ('phone', 'email')),
    value        text        NOT NULL
        CONSTRAINT patient_contacts_value_form CHECK (length(value) BETWEEN 1 AND 254),
    label        text
        CONSTRAINT patient_contacts_label_form CHECK (length(label) BETWEEN 1 AND 100),
    is_primary   boolean     NOT NULL,
    version      bigint      NOT NULL
        CONSTRAINT patient_contacts_version_positive CHECK (version > 0),
    created_at   timestamptz NOT NULL
        CONSTRAINT patient_contacts_created_at_sane CHECK (is_sane(created_at)),
    updated_at   timestamptz NOT NULL
        CONSTRAINT patient_contacts_updated_at_sane CHECK (is_sane(updated_at)),
    -- What searches compare: a phone number's digits, an address without case.
    search_value text        NOT NULL GENERATED ALWAYS AS (
        CASE type WHEN 'phone' THEN regexp_replace(value, '[^0-9]', '', 'g') ELSE lower(value) END
    ) STORED
);
