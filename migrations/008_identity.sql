-- Who may come in, from where, and for how long.

ALTER TABLE users
    -- Somebody else has set the password: it has to be changed before anything else is done.
    ADD COLUMN must_change_password boolean NOT NULL DEFAULT false;

ALTER TABLE sessions
    ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now()
        CONSTRAINT sessions_last_seen_at_sane CHECK (is_sane(last_seen_at)),
    ADD COLUMN address inet
        CONSTRAINT sessions_address_is_a_host
        CHECK (masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END),
    ADD COLUMN agent text
        CONSTRAINT sessions_agent_form CHECK (length(agent) BETWEEN 1 AND 200),
    -- The admin who acts as the user in this session.
    ADD COLUMN impersonator_id uuid
        CONSTRAINT sessions_impersonator_id_fkey REFERENCES users,
    ADD CONSTRAINT sessions_impersonator_is_another CHECK (impersonator_id <> user_id);

CREATE INDEX sessions_by_impersonator ON sessions (impersonator_id)
    WHERE impersonator_id IS NOT NULL AND revoked_at IS NULL;
-- What is swept when it is over.
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- The tokens that a session had before the one it has: who still comes with one of them stole it,
-- or was stolen from.
CREATE TABLE retired_tokens (
    token_hash bytea CONSTRAINT retired_tokens_pkey PRIMARY KEY
        CONSTRAINT retired_tokens_token_hash_form CHECK (octet_length(token_hash) = 32),
    session_id uuid  NOT NULL
        CONSTRAINT retired_tokens_session_id_fkey REFERENCES sessions ON DELETE CASCADE
);
CREATE INDEX retired_tokens_by_session ON retired_tokens (session_id);

-- Log-ins that failed, counted by account, by address, and by both, where the account logged in
-- from that address before. Subjects are hashes: what was typed as a name may be anything, a
-- password even.
CREATE TABLE login_throttles (
    kind           text        NOT NULL
        CONSTRAINT login_throttles_kind_known CHECK (kind IN ('account', 'address', 'pair')),
    subject        bytea       NOT NULL
        CONSTRAINT login_throttles_subject_form CHECK (octet_length(subject) = 32),
    failures       integer     NOT NULL DEFAULT 0
        CONSTRAINT login_throttles_failures_not_negative CHECK (failures >= 0),
    last_failed_at timestamptz
        CONSTRAINT login_throttles_last_failed_at_sane CHECK (is_sane(last_failed_at)),
    blocked_until  timestamptz
        CONSTRAINT login_throttles_blocked_until_sane CHECK (is_sane(blocked_until)),
    CONSTRAINT login_throttles_pkey PRIMARY KEY (kind, subject)
);
CREATE INDEX login_throttles_by_age ON login_throttles (last_failed_at);
