-- What every later migration relies on, and who may log in.
-- The extensions are trusted ones: the owner of the database may create them.
-- IF NOT EXISTS: another owner of the server may have made them already.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;

-- Text as searches compare it: lower case, without accents. unaccent is only STABLE because its
-- dictionary could be replaced; this one names the dictionary that comes with the extension.
CREATE FUNCTION public.folded(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(public.unaccent('public.unaccent'::regdictionary, value));

-- A moment that the clinic's records can be about; later years make some clients panic.
CREATE FUNCTION public.is_sane(moment timestamptz) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN isfinite(moment)
        AND moment >= timestamptz '1900-01-01 00:00:00+00'
        AND moment < timestamptz '2200-01-01 00:00:00+00';

CREATE TABLE users (
    user_id       uuid        CONSTRAINT users_pkey PRIMARY KEY,
    username      text        NOT NULL
        CONSTRAINT users_username_form CHECK (username ~ '^\S+$' AND length(username) <= 64),
    display_name  text        NOT NULL
        CONSTRAINT users_display_name_form CHECK (length(display_name) BETWEEN 1 AND 100),
    password_hash text        NOT NULL
        CONSTRAINT users_password_hash_form CHECK (password_hash LIKE '$argon2id$%'),
    roles         text[]      NOT NULL
        CONSTRAINT users_roles_known CHECK (
            roles <@ ARRAY['admin', 'manager', 'doctor', 'receptionist'] AND cardinality(roles) > 0
        ),
    is_active     boolean     NOT NULL,
    version       bigint      NOT NULL CONSTRAINT users_version_positive CHECK (version > 0),
    created_at    timestamptz NOT NULL CONSTRAINT users_created_at_sane CHECK (is_sane(created_at)),
    updated_at    timestamptz NOT NULL CONSTRAINT users_updated_at_sane CHECK (is_sane(updated_at))
);

CREATE TABLE sessions (
    session_id  uuid        CONSTRAINT sessions_pkey PRIMARY KEY,
    user_id     uuid        NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users,
    token_hash  bytea       NOT NULL
        CONSTRAINT sessions_token_hash_key UNIQUE
        CONSTRAINT sessions_token_hash_form CHECK (octet_length(token_hash) = 32),
    device_name text
        CONSTRAINT sessions_device_name_form CHECK (length(device_name) BETWEEN 1 AND 100),
    created_at  timestamptz NOT NULL
        CONSTRAINT sessions_created_at_sane CHECK (is_sane(created_at)),
    expires_at  timestamptz NOT NULL
        CONSTRAINT sessions_expires_at_sane CHECK (is_sane(expires_at)),
    revoked_at  timestamptz
        CONSTRAINT sessions_revoked_at_sane CHECK (is_sane(revoked_at)),
    CONSTRAINT sessions_expire_after_creation CHECK (expires_at > created_at)
);
