-- What a visit has besides its slot, and every change that was made to it.

ALTER TABLE appointments
    -- Until when the room is taken, where it is cleaned up after the visit.
    ADD COLUMN room_free_at timestamptz
        CONSTRAINT appointments_room_free_at_range CHECK (
            room_free_at > ends_at AND room_free_at - ends_at <= interval '4 hours'
        ),
    ADD COLUMN arrived_at timestamptz
        CONSTRAINT appointments_arrived_at_sane CHECK (is_sane(arrived_at)),
    ADD COLUMN seated_at timestamptz
        CONSTRAINT appointments_seated_at_sane CHECK (is_sane(seated_at)),
    ADD COLUMN completed_at timestamptz
        CONSTRAINT appointments_completed_at_sane CHECK (is_sane(completed_at)),
    -- What stands in the visit's way and was accepted: names of kinds, or a kind, a colon and an id.
    ADD COLUMN accepted_obstacles text[] NOT NULL DEFAULT '{}'
        CONSTRAINT appointments_accepted_obstacles_form
        CHECK (array_position(accepted_obstacles, NULL) IS NULL),
    ADD CONSTRAINT appointments_times_in_order CHECK (
        arrived_at <= seated_at AND seated_at <= completed_at AND arrived_at <= completed_at
    ),
    DROP CONSTRAINT appointments_room_free,
    ADD CONSTRAINT appointments_room_free EXCLUDE USING gist
        (room_id WITH =, tstzrange(starts_at, coalesce(room_free_at, ends_at), '[)') WITH &&)
        WHERE (room_id IS NOT NULL AND status NOT IN ('cancelled', 'no_show'));

-- What the patient was told that one costs. Nobody knows it of what was planned before.
ALTER TABLE appointment_services
    ADD COLUMN unit_price_cents bigint
        CONSTRAINT appointment_services_unit_price_range
        CHECK (unit_price_cents BETWEEN 0 AND 1000000000000);

-- A row a version: what the visit was after the change, by whom and why. Also what is told to
-- whoever watches the calendar, in the order of `position`.
--
-- The position is given after the change is committed, by one at a time: so whoever has read up to
-- a position has missed nothing before it. Numbers given inside the transactions that make the
-- changes would become visible out of order.
CREATE TABLE appointment_history (
    appointment_id  uuid        NOT NULL
        CONSTRAINT appointment_history_appointment_id_fkey REFERENCES appointments,
    version         bigint      NOT NULL
        CONSTRAINT appointment_history_version_positive CHECK (version > 0),
    position        bigint
        CONSTRAINT appointment_history_position_key UNIQUE
        CONSTRAINT appointment_history_position_positive CHECK (position > 0),
    action          text        NOT NULL
        CONSTRAINT appointment_history_action_known CHECK (action IN (
            'book', 'change', 'reschedule', 'confirm', 'arrive', 'start', 'complete', 'cancel',
            'no_show', 'accept_conflict', 'anonymize'
        )),
    -- Not known of what was there before there was a history.
    user_id         uuid
        CONSTRAINT appointment_history_user_id_fkey REFERENCES users,
    impersonator_id uuid
        CONSTRAINT appointment_history_impersonator_id_fkey REFERENCES users,
    reason          text
        CONSTRAINT appointment_history_reason_form CHECK (length(reason) BETWEEN 1 AND 500),
    doctor_id       uuid        NOT NULL
        CONSTRAINT appointment_history_doctor_id_fkey REFERENCES users,
    room_id         uuid
        CONSTRAINT appointment_history_room_id_fkey REFERENCES rooms,
    starts_at       timestamptz NOT NULL
        CONSTRAINT appointment_history_starts_at_sane CHECK (is_sane(starts_at)),
    ends_at         timestamptz NOT NULL
        CONSTRAINT appointment_history_ends_at_sane CHECK (is_sane(ends_at)),
    status          text        NOT NULL
        CONSTRAINT appointment_history_status_known CHECK (status IN
            ('scheduled', 'confirmed', 'arrived', 'in_chair', 'completed', 'cancelled', 'no_show')),
    changed_at      timestamptz NOT NULL
        CONSTRAINT appointment_history_changed_at_sane CHECK (is_sane(changed_at)),
    CONSTRAINT appointment_history_pkey PRIMARY KEY (appointment_id, version)
);

CREATE SEQUENCE appointment_history_positions;

INSERT INTO appointment_history (
    appointment_id, version, position, action, doctor_id, room_id, starts_at, ends_at, status,
    changed_at
)
SELECT appointment_id, version, nextval('appointment_history_positions'), 'book', doctor_id,
    room_id, starts_at, ends_at, status, updated_at
FROM appointments;

-- What waits for its position: few rows at any time.
CREATE INDEX appointment_history_waiting ON appointment_history (changed_at) WHERE position IS NULL;
CREATE INDEX appointment_history_by_room ON appointment_history (room_id);
