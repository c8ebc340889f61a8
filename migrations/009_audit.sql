-- Who did what, to whose record, from where. Rows are added and never changed: the application's
-- role may do nothing else, and the seals show when somebody else did.

CREATE TABLE audit_log (
    audit_id        uuid        CONSTRAINT audit_log_pkey PRIMARY KEY,
    at              timestamptz NOT NULL CONSTRAINT audit_log_at_sane CHECK (is_sane(at)),
    -- No foreign keys: the log outlives what it tells of.
    actor_id        uuid,
    impersonator_id uuid,
    session_id      uuid,
    address         inet,
    request_id      text
        CONSTRAINT audit_log_request_id_form CHECK (length(request_id) BETWEEN 1 AND 128),
    action          text        NOT NULL
        CONSTRAINT audit_log_action_form CHECK (action ~ '^[a-z_]{1,40}$'),
    entity          text        NOT NULL
        CONSTRAINT audit_log_entity_form CHECK (entity ~ '^[a-z_]{1,40}$'),
    entity_id       uuid,
    patient_ids     uuid[]      NOT NULL,
    -- What became of which field. Goes when its patient is anonymized; its digest stays.
    changes         jsonb,
    -- Makes it impossible to find out what was there by trying.
    changes_salt    bytea
        CONSTRAINT audit_log_changes_salt_form CHECK (octet_length(changes_salt) = 16),
    changes_digest  bytea
        CONSTRAINT audit_log_changes_digest_form CHECK (octet_length(changes_digest) = 32),
    CONSTRAINT audit_log_changes_with_salt CHECK ((changes IS NULL) = (changes_salt IS NULL)),
    CONSTRAINT audit_log_changes_with_digest CHECK (changes IS NULL OR changes_digest IS NOT NULL)
);

CREATE INDEX audit_log_by_time ON audit_log (at);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, audit_id);
CREATE INDEX audit_log_by_entity ON audit_log (entity_id, audit_id) WHERE entity_id IS NOT NULL;
CREATE INDEX audit_log_by_action ON audit_log (action, audit_id);
CREATE INDEX audit_log_by_patient ON audit_log USING gin (patient_ids);

CREATE FUNCTION public.audit_changes_digest(salt bytea, changes jsonb) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN sha256(salt || convert_to(changes::text, 'UTF8'));

-- What a seal holds of a row: everything but the changes, of which it holds the digest. STABLE like
-- what it calls, without which it would not be inlined.
CREATE FUNCTION public.audit_row_digest(entry audit_log) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(convert_to(
        jsonb_build_array(
            entry.audit_id, extract(epoch FROM entry.at), entry.actor_id, entry.impersonator_id,
            entry.session_id, text(entry.address), entry.request_id, entry.action, entry.entity,
            entry.entity_id, entry.patient_ids, encode(entry.changes_digest, 'hex')
        )::text,
        'UTF8'
    ));

-- A seal covers the rows that came since the last one, and that one's hash.
CREATE TABLE audit_seals (
    seal_id       bigint      CONSTRAINT audit_seals_pkey PRIMARY KEY
        CONSTRAINT audit_seals_seal_id_positive CHECK (seal_id > 0),
    sealed_at     timestamptz NOT NULL
        CONSTRAINT audit_seals_sealed_at_sane CHECK (is_sane(sealed_at)),
    previous_hash bytea       NOT NULL
        CONSTRAINT audit_seals_previous_hash_form CHECK (octet_length(previous_hash) = 32),
    hash          bytea       NOT NULL
        CONSTRAINT audit_seals_hash_form CHECK (octet_length(hash) = 32)
);

-- Which rows a seal covers, and what they were. Without a reference to the row, so that one that
-- was removed can be named.
CREATE TABLE audit_sealed_rows (
    audit_id uuid   CONSTRAINT audit_sealed_rows_pkey PRIMARY KEY,
    seal_id  bigint NOT NULL
        CONSTRAINT audit_sealed_rows_seal_id_fkey REFERENCES audit_seals,
    digest   bytea  NOT NULL
        CONSTRAINT audit_sealed_rows_digest_form CHECK (octet_length(digest) = 32)
);
CREATE INDEX audit_sealed_rows_by_seal ON audit_sealed_rows (seal_id, audit_id);

-- `sealed_rows` are the id and the digest of each row, in the order of the ids. All but the last
-- part have a length of their own, so that no two seals have the same text.
CREATE FUNCTION public.audit_seal_hash(
    seal_id bigint, sealed_at timestamptz, previous_hash bytea, sealed_rows bytea
) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN sha256(
        previous_hash || int8send(seal_id)
        || int8send((extract(epoch FROM sealed_at) * 1000000)::bigint) || sealed_rows
    );
