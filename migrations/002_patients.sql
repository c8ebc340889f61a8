-- Patients, how to reach them, and how they are found.

-- The functions of searches. In PL/pgSQL, which keeps its plans from one row to the next: as SQL
-- functions that call each other they would take ten times as long.

-- The words of a text as searches compare them, longer ones first. Punctuation separates them, so
-- a word holds nothing that LIKE or tsquery would take for more than a letter.
CREATE FUNCTION public.words_of(value text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT word
        FROM regexp_split_to_table(public.folded(value), '[\s!-/:-@[-`{-~]+') AS word
        WHERE word <> ''
        ORDER BY length(word) DESC, word
    );
END
$$;

-- A word, and what is left of it without any one of its letters. Two words that are one slip apart
-- (a letter too many, too few or wrong, or two that changed places) have one of these in common.
-- Short words would have too much in common with too many.
CREATE FUNCTION public.slips_of(word text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    slips text[] := ARRAY[word];
BEGIN
    IF length(word) >= 4 THEN
        FOR place IN 1..length(word) LOOP
            slips := slips || (left(word, place - 1) || substr(word, place + 1));
        END LOOP;
    END IF;
    RETURN slips;
END
$$;

-- What an index holds of a name: its words, and behind a tilde their slips.
CREATE FUNCTION public.search_terms_of(name text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    words text[] := public.words_of(name);
    terms text[] := words;
    word text;
    slip text;
BEGIN
    FOREACH word IN ARRAY words LOOP
        FOREACH slip IN ARRAY public.slips_of(word) LOOP
            terms := terms || ('~' || slip);
        END LOOP;
    END LOOP;
    RETURN array_to_tsvector(terms);
END
$$;

-- LIKE patterns that a name with each word of a query in it matches: the first is of the longest
-- word, the second matches everything when there is no second word. Nothing when no word has three
-- letters: an index of trigrams cannot find less.
CREATE FUNCTION public.with_parts(query text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    words text[] := public.words_of(query);
BEGIN
    IF length(words[1]) >= 3 THEN
        RETURN ARRAY(
            SELECT '%' || word || '%' FROM unnest(array_append(words, '')) AS word
        );
    END IF;
    RETURN NULL;
END
$$;

-- Names in which each word of a query is a word, begins one, or does so but for a slip. Nothing
-- when the query has no word.
CREATE FUNCTION public.with_words(query text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT string_agg(format('''%s''', word), ' & ')
        FROM unnest(public.words_of(query)) AS word
    )::tsquery;

CREATE FUNCTION public.with_beginnings(query text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT string_agg(format('''%s'':*', word), ' & ')
        FROM unnest(public.words_of(query)) AS word
    )::tsquery;

CREATE FUNCTION public.with_slips(query text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT string_agg(
            format(
                '(''%s'':* | ''~%s'')',
                word, array_to_string(public.slips_of(word), ''' | ''~')
            ),
            ' & '
        )
        FROM unnest(public.words_of(query)) AS word
    )::tsquery;

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
        GENERATED ALWAYS AS (public.folded(first_name || ' ' || last_name)) STORED,
    search_terms    tsvector    NOT NULL
        GENERATED ALWAYS AS (public.search_terms_of(first_name || ' ' || last_name)) STORED
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
