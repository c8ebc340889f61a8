-- What was accepted says which part of the visit, which closure or time off, or which version of the
-- doctor or the room, so that a later change is not taken for accepted. What was accepted of hours,
-- doctors and rooms did not say it: that is asked for again.

-- This is no change of what is kept about anybody, so also visits of anonymized patients take it.
ALTER TABLE appointments DISABLE TRIGGER appointments_of_known_patient;

UPDATE appointments SET accepted_obstacles = ARRAY(
    SELECT name FROM unnest(accepted_obstacles) WITH ORDINALITY AS accepted (name, place)
    WHERE name LIKE '%:%' ORDER BY place
)
WHERE accepted_obstacles <> '{}';

ALTER TABLE appointments ENABLE TRIGGER appointments_of_known_patient;

CREATE FUNCTION are_obstacles(names text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN NOT EXISTS (
        SELECT FROM unnest(names) AS name
        WHERE (name ~ ('^('
            || '(clinic|doctor)_hours:[0-9TZ:.-]+/[0-9TZ:.-]+'
            || '|(closure|time_off):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
            || '|(doctor|room)_not_available:[0-9]+'
            || ')$')) IS NOT TRUE
    );

ALTER TABLE appointments
    DROP CONSTRAINT appointments_accepted_obstacles_form,
    ADD CONSTRAINT appointments_accepted_obstacles_form CHECK (are_obstacles(accepted_obstacles));
