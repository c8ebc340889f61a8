-- What was accepted says which part of the visit, which closure or time off, or since when the
-- doctor or the room is gone, so that a later change is not taken for accepted. What was accepted of
-- hours, doctors and rooms did not say it: that is asked for again.

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
            || '|(doctor|room)_not_available:[0-9TZ:.-]+'
            || ')$')) IS NOT TRUE
    );

ALTER TABLE appointments
    DROP CONSTRAINT appointments_accepted_obstacles_form,
    ADD CONSTRAINT appointments_accepted_obstacles_form CHECK (are_obstacles(accepted_obstacles));

-- Since when a user is no active doctor, and a room is inactive: what is accepted of a visit is that
-- its doctor or room is gone since then. Other changes of them bring no visit back.
ALTER TABLE users ADD COLUMN not_available_since timestamptz
    CONSTRAINT users_not_available_since_sane CHECK (is_sane(not_available_since));
ALTER TABLE rooms ADD COLUMN not_available_since timestamptz
    CONSTRAINT rooms_not_available_since_sane CHECK (is_sane(not_available_since));

UPDATE users SET not_available_since = updated_at WHERE NOT (is_active AND 'doctor' = ANY (roles));
UPDATE rooms SET not_available_since = updated_at WHERE NOT is_active;

CREATE FUNCTION keep_not_available_since() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_available boolean := NEW.is_active;
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        is_available := is_available AND 'doctor' = ANY (NEW.roles);
    END IF;
    IF is_available THEN
        NEW.not_available_since := NULL;
    ELSIF TG_OP = 'INSERT' THEN
        NEW.not_available_since := NEW.updated_at;
    ELSE
        NEW.not_available_since := coalesce(OLD.not_available_since, NEW.updated_at);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER users_not_available_since BEFORE INSERT OR UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION keep_not_available_since();
CREATE TRIGGER rooms_not_available_since BEFORE INSERT OR UPDATE ON rooms
    FOR EACH ROW EXECUTE FUNCTION keep_not_available_since();
