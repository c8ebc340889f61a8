-- What was accepted says which part of the visit, which closure, or which version of the doctor or
-- the room, so that a later change is not taken for accepted. What was accepted before did not say
-- it: it is asked for again.
UPDATE appointments SET accepted_obstacles = '{}' WHERE accepted_obstacles <> '{}';

ALTER TABLE appointments
    DROP CONSTRAINT appointments_accepted_obstacles_form,
    ADD CONSTRAINT appointments_accepted_obstacles_form CHECK (
        array_position(accepted_obstacles, NULL) IS NULL
        AND array_to_string(accepted_obstacles, ' ') ~
            '^(((clinic_hours|doctor_hours|closure|time_off|doctor_not_available|room_not_available):[^ ]+)( |$))*$'
    );
