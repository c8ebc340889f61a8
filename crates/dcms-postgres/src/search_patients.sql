-- $1 the query; $2 the register number it may be; $3 what a contact is LIKE that contains it, $8 (up
-- to four patterns) what one is LIKE that begins with it; $4 whether archived; $5 and $6 the rank and
-- the patient that the page before ended with; $7 how many rows.
--
-- Each rank finds what no rank above it finds, so nobody is found twice, and does nothing once the
-- ranks above filled the page. In each, PostgreSQL may go through the patients in order until the
-- page is full, or look up all that match and sort them: it knows how frequent a word is. How often
-- two words meet it does not know, so with several words the sort key is one that no index has. For
-- the same reason nobody is left out because of a contact but by a look at their own contacts: in
-- a subquery that cannot become a join, with a condition that no index has.
--
-- All of that rests on plans made for the very query. The subquery below costs more than anything,
-- in a plan for every query, and is not there in a plan for one: so there is never a plan for every
-- query.
WITH number AS (
    SELECT patient_id FROM patients
    WHERE register_number = $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (8 < coalesce($5, 9) OR 8 = $5 AND patient_id > $6)
),
-- Each word of the query is a word of the name.
words AS (
    SELECT patient_id FROM patients
    WHERE search_terms @@ with_words($1)
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (7 < coalesce($5, 9) OR 7 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) < $7
    ORDER BY CASE WHEN cardinality(words_of($1)) > 1
        THEN nullif(patient_id, uuid '00000000-0000-0000-0000-000000000000')
        ELSE patient_id
    END LIMIT $7
),
-- Each word of the query begins a word of the name.
beginnings AS (
    SELECT patient_id FROM patients
    WHERE search_terms @@ with_beginnings($1)
        AND (search_terms @@ with_words($1)) IS NOT TRUE
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (6 < coalesce($5, 9) OR 6 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words) < $7
    ORDER BY CASE WHEN cardinality(words_of($1)) > 1
        THEN nullif(patient_id, uuid '00000000-0000-0000-0000-000000000000')
        ELSE patient_id
    END LIMIT $7
),
-- A contact begins with the query, or is it.
contact_beginnings AS (
    SELECT DISTINCT patient_id FROM patient_contacts JOIN patients USING (patient_id)
    WHERE (
            search_value LIKE ($8::text[])[1] OR search_value LIKE ($8)[2]
            OR search_value LIKE ($8)[3] OR search_value LIKE ($8)[4]
        )
        AND (search_terms @@ with_beginnings($1)) IS NOT TRUE
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (5 < coalesce($5, 9) OR 5 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words)
            + (SELECT count(*) FROM beginnings) < $7
    ORDER BY patient_id LIMIT $7
),
-- The name contains each word of the query.
parts AS (
    SELECT patient_id FROM patients
    WHERE search_name LIKE (with_parts($1))[1]
        AND search_name LIKE (with_parts($1))[2]
        AND search_name LIKE ALL ((with_parts($1))[3:])
        AND (search_terms @@ with_beginnings($1)) IS NOT TRUE
        AND NOT (
            SELECT count(*) > 0 FROM patient_contacts AS contact
            WHERE contact.patient_id = patients.patient_id
                AND search_value || '' LIKE ANY ($8)
        )
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (4 < coalesce($5, 9) OR 4 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words)
            + (SELECT count(*) FROM beginnings) + (SELECT count(*) FROM contact_beginnings) < $7
    ORDER BY CASE WHEN cardinality(words_of($1)) > 1
        THEN nullif(patient_id, uuid '00000000-0000-0000-0000-000000000000')
        ELSE patient_id
    END LIMIT $7
),
-- A contact contains the query.
contact_parts AS (
    SELECT DISTINCT patient_id FROM patient_contacts JOIN patients USING (patient_id)
    WHERE search_value LIKE $3
        AND NOT (
            SELECT count(*) > 0 FROM patient_contacts AS contact
            WHERE contact.patient_id = patients.patient_id
                AND search_value || '' LIKE ANY ($8)
        )
        AND (search_terms @@ with_beginnings($1)) IS NOT TRUE
        AND (search_name LIKE (with_parts($1))[1] AND search_name LIKE ALL (with_parts($1)))
            IS NOT TRUE
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (3 < coalesce($5, 9) OR 3 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words)
            + (SELECT count(*) FROM beginnings) + (SELECT count(*) FROM contact_beginnings)
            + (SELECT count(*) FROM parts) < $7
    ORDER BY patient_id LIMIT $7
),
-- As beginnings, but for a slip in any of the words.
slips AS (
    SELECT patient_id FROM patients
    WHERE search_terms @@ with_slips($1)
        AND (search_terms @@ with_beginnings($1)) IS NOT TRUE
        AND (search_name LIKE (with_parts($1))[1] AND search_name LIKE ALL (with_parts($1)))
            IS NOT TRUE
        AND NOT (
            SELECT count(*) > 0 FROM patient_contacts AS contact
            WHERE contact.patient_id = patients.patient_id AND search_value || '' LIKE $3
        )
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (2 < coalesce($5, 9) OR 2 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words)
            + (SELECT count(*) FROM beginnings) + (SELECT count(*) FROM contact_beginnings)
            + (SELECT count(*) FROM parts) + (SELECT count(*) FROM contact_parts) < $7
    ORDER BY CASE WHEN cardinality(words_of($1)) > 1
        THEN nullif(patient_id, uuid '00000000-0000-0000-0000-000000000000')
        ELSE patient_id
    END LIMIT $7
),
-- The name has something like each word of the query, which takes a word of four letters to tell.
alike AS (
    SELECT patient_id FROM patients
    WHERE (words_of($1))[1] <% search_name
        AND coalesce((words_of($1))[2], (words_of($1))[1]) <% search_name
        AND length((words_of($1))[1]) >= 4
        AND (SELECT bool_and(word <% search_name) FROM unnest(words_of($1)) AS word)
        AND (search_terms @@ with_slips($1)) IS NOT TRUE
        AND (search_name LIKE (with_parts($1))[1] AND search_name LIKE ALL (with_parts($1)))
            IS NOT TRUE
        AND NOT (
            SELECT count(*) > 0 FROM patient_contacts AS contact
            WHERE contact.patient_id = patients.patient_id AND search_value || '' LIKE $3
        )
        AND register_number IS DISTINCT FROM $2
        AND ($4::boolean IS NULL OR (archived_at IS NOT NULL) = $4)
        AND (1 < coalesce($5, 9) OR 1 = $5 AND patient_id > $6)
        AND (SELECT count(*) FROM number) + (SELECT count(*) FROM words)
            + (SELECT count(*) FROM beginnings) + (SELECT count(*) FROM contact_beginnings)
            + (SELECT count(*) FROM parts) + (SELECT count(*) FROM contact_parts)
            + (SELECT count(*) FROM slips) < $7
    ORDER BY CASE WHEN cardinality(words_of($1)) > 1
        THEN nullif(patient_id, uuid '00000000-0000-0000-0000-000000000000')
        ELSE patient_id
    END LIMIT $7
),
found AS (
    SELECT 8 AS rank, patient_id FROM number
    UNION ALL SELECT 7, patient_id FROM words
    UNION ALL SELECT 6, patient_id FROM beginnings
    UNION ALL SELECT 5, patient_id FROM contact_beginnings
    UNION ALL SELECT 4, patient_id FROM parts
    UNION ALL SELECT 3, patient_id FROM contact_parts
    UNION ALL SELECT 2, patient_id FROM slips
    UNION ALL SELECT 1, patient_id FROM alike
    ORDER BY rank DESC, patient_id LIMIT $7
)
SELECT rank AS "rank!", patient_id AS "patient_id!", register_number AS "register_number!",
    first_name AS "first_name!", last_name AS "last_name!", birthday, gender AS "gender!", notes,
    archived_at, anonymized_at, version AS "version!", created_at AS "created_at!",
    updated_at AS "updated_at!"
FROM found JOIN patients USING (patient_id)
WHERE $7 IS NOT NULL
    OR (SELECT count(*) FROM pg_class AS a, pg_class AS b, pg_class AS c, pg_class AS d) > 0
ORDER BY found.rank DESC, found.patient_id
