-- The answers of requests that named themselves, for as long as they may come again.

CREATE TABLE idempotency_keys (
    key         text        CONSTRAINT idempotency_keys_pkey PRIMARY KEY
        CONSTRAINT idempotency_keys_key_form CHECK (key ~ '^[\x21-\x7e]{1,255}$'),
    user_id     uuid        NOT NULL
        CONSTRAINT idempotency_keys_user_id_fkey REFERENCES users,
    -- Of method, path and body: the same request has the same.
    fingerprint bytea       NOT NULL
        CONSTRAINT idempotency_keys_fingerprint_form CHECK (octet_length(fingerprint) = 32),
    -- Whom the answer is about. No reference, which would be one more lock to wait for: whatever
    -- has an effect holds rows of the patient's that whoever anonymizes them locks first.
    patient_id  uuid,
    answered_at timestamptz NOT NULL
        CONSTRAINT idempotency_keys_answered_at_sane CHECK (is_sane(answered_at)),
    status      smallint    NOT NULL
        CONSTRAINT idempotency_keys_status_of_success CHECK (status BETWEEN 200 AND 299),
    location    text
        CONSTRAINT idempotency_keys_location_form CHECK (length(location) BETWEEN 1 AND 2000),
    entity_tag  text
        CONSTRAINT idempotency_keys_entity_tag_form CHECK (length(entity_tag) BETWEEN 2 AND 100),
    body        bytea       NOT NULL
);

-- What is swept when it is over.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (answered_at);
CREATE INDEX idempotency_keys_by_patient ON idempotency_keys (patient_id);
