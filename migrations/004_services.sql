-- The catalog, and what of it is planned for a visit.

CREATE TABLE services (
    service_id               uuid        CONSTRAINT services_pkey PRIMARY KEY,
    code                     text        NOT NULL
        CONSTRAINT services_code_form CHECK (length(code) BETWEEN 1 AND 32),
    name                     text        NOT NULL
        CONSTRAINT services_name_form CHECK (length(name) BETWEEN 1 AND 200),
    current_price_cents      bigint      NOT NULL
        CONSTRAINT services_current_price_range
        CHECK (current_price_cents BETWEEN 0 AND 1000000000000),
    default_duration_minutes integer
        CONSTRAINT services_default_duration_range
        CHECK (default_duration_minutes BETWEEN 1 AND 1440),
    is_active                boolean     NOT NULL,
    version                  bigint      NOT NULL
        CONSTRAINT services_version_positive CHECK (version > 0),
    created_at               timestamptz NOT NULL
        CONSTRAINT services_created_at_sane CHECK (is_sane(created_at)),
    updated_at               timestamptz NOT NULL
        CONSTRAINT services_updated_at_sane CHECK (is_sane(updated_at)),
    search_text              text        NOT NULL
        GENERATED ALWAYS AS (public.folded(code || ' ' || name)) STORED
);

CREATE TABLE appointment_services (
    appointment_id uuid    NOT NULL
        CONSTRAINT appointment_services_appointment_id_fkey REFERENCES appointments,
    position       integer NOT NULL
        CONSTRAINT appointment_services_position_range CHECK (position BETWEEN 0 AND 49),
    service_id     uuid    NOT NULL
        CONSTRAINT appointment_services_service_id_fkey REFERENCES services,
    qty            integer NOT NULL
        CONSTRAINT appointment_services_qty_range CHECK (qty BETWEEN 1 AND 10000),
    CONSTRAINT appointment_services_pkey PRIMARY KEY (appointment_id, position)
);
