-- When the clinic, its doctors and its rooms can be booked.
--
-- Plans are in wall time, so that 09:00 stays 09:00 when clocks change: days, minutes of a day, and
-- timestamps without a zone. Which moments they mean follows from the clinic's time zone.

-- A reading of the clinic's clocks that its records can be about.
CREATE FUNCTION public.is_sane_wall_time(reading timestamp) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN isfinite(reading)
        AND reading >= timestamp '1900-01-01 00:00:00'
        AND reading < timestamp '2200-01-01 00:00:00';

ALTER TABLE clinic_settings
    ADD COLUMN slot_grid_minutes integer NOT NULL DEFAULT 5
        CONSTRAINT clinic_settings_slot_grid_minutes_divides_hour
        CHECK (slot_grid_minutes BETWEEN 1 AND 60 AND 60 % slot_grid_minutes = 0),
    ADD COLUMN smallest_notice_minutes integer NOT NULL DEFAULT 0
        CONSTRAINT clinic_settings_smallest_notice_range
        CHECK (smallest_notice_minutes BETWEEN 0 AND 43200),
    -- Two years, also those with a leap day.
    ADD COLUMN largest_notice_days integer NOT NULL DEFAULT 731
        CONSTRAINT clinic_settings_largest_notice_range
        CHECK (largest_notice_days BETWEEN 1 AND 3650);

ALTER TABLE rooms
    ADD COLUMN kind text
        CONSTRAINT rooms_kind_form CHECK (length(kind) BETWEEN 1 AND 50),
    -- Its place among the rooms; those with the same place follow in the order they were made.
    ADD COLUMN position integer NOT NULL DEFAULT 0
        CONSTRAINT rooms_position_range CHECK (position BETWEEN 0 AND 10000);

ALTER TABLE services
    -- How long the room stays taken when the visit is over.
    ADD COLUMN buffer_minutes integer NOT NULL DEFAULT 0
        CONSTRAINT services_buffer_range CHECK (buffer_minutes BETWEEN 0 AND 240),
    ADD COLUMN room_kind text
        CONSTRAINT services_room_kind_form CHECK (length(room_kind) BETWEEN 1 AND 50);

-- Who performs a service; everybody does when nobody is named.
CREATE TABLE service_doctors (
    service_id uuid NOT NULL
        CONSTRAINT service_doctors_service_id_fkey REFERENCES services ON DELETE CASCADE,
    doctor_id  uuid NOT NULL
        CONSTRAINT service_doctors_doctor_id_fkey REFERENCES users,
    CONSTRAINT service_doctors_pkey PRIMARY KEY (service_id, doctor_id)
);

CREATE TABLE doctor_settings (
    doctor_id     uuid        CONSTRAINT doctor_settings_pkey PRIMARY KEY
        CONSTRAINT doctor_settings_doctor_id_fkey REFERENCES users,
    usual_room_id uuid
        CONSTRAINT doctor_settings_usual_room_id_fkey REFERENCES rooms,
    version       bigint      NOT NULL
        CONSTRAINT doctor_settings_version_positive CHECK (version > 0),
    updated_at    timestamptz NOT NULL
        CONSTRAINT doctor_settings_updated_at_sane CHECK (is_sane(updated_at))
);

-- The hours of the clinic (no doctor), or those that a doctor has of their own.
CREATE TABLE schedules (
    schedule_id uuid        CONSTRAINT schedules_pkey PRIMARY KEY,
    doctor_id   uuid
        CONSTRAINT schedules_doctor_id_fkey REFERENCES users,
    version     bigint      NOT NULL
        CONSTRAINT schedules_version_positive CHECK (version > 0),
    updated_at  timestamptz NOT NULL
        CONSTRAINT schedules_updated_at_sane CHECK (is_sane(updated_at)),
    CONSTRAINT schedules_doctor_id_key UNIQUE NULLS NOT DISTINCT (doctor_id)
);

-- A plan is valid from its day on until the next plan of the schedule.
CREATE TABLE weekly_plans (
    schedule_id    uuid    NOT NULL
        CONSTRAINT weekly_plans_schedule_id_fkey REFERENCES schedules,
    valid_from     date    NOT NULL
        CONSTRAINT weekly_plans_valid_from_sane
        CHECK (is_sane_wall_time(valid_from::timestamp)),
    -- The doctor has no hours of their own any more; of the clinic: none are set any more.
    is_unset       boolean NOT NULL,
    CONSTRAINT weekly_plans_pkey PRIMARY KEY (schedule_id, valid_from)
);

CREATE TABLE weekly_plan_intervals (
    schedule_id   uuid    NOT NULL,
    valid_from    date    NOT NULL,
    -- 1 is Monday.
    weekday       integer NOT NULL
        CONSTRAINT weekly_plan_intervals_weekday_range CHECK (weekday BETWEEN 1 AND 7),
    -- Minutes after the weekday's midnight; what closes after 1440 closes on the next day.
    opens_minute  integer NOT NULL
        CONSTRAINT weekly_plan_intervals_opens_range CHECK (opens_minute BETWEEN 0 AND 1439),
    closes_minute integer NOT NULL
        CONSTRAINT weekly_plan_intervals_closes_range
        CHECK (closes_minute > opens_minute AND closes_minute - opens_minute <= 1440),
    -- The minutes of the week, of which the first follow the last.
    span          int4multirange NOT NULL GENERATED ALWAYS AS (
        (int4multirange(int4range((weekday - 1) * 1440 + opens_minute, (weekday - 1) * 1440 + closes_minute))
            * int4multirange(int4range(0, 10080)))
        + int4multirange(int4range(0, greatest(0, (weekday - 1) * 1440 + closes_minute - 10080)))
    ) STORED,
    CONSTRAINT weekly_plan_intervals_pkey PRIMARY KEY (schedule_id, valid_from, weekday, opens_minute),
    CONSTRAINT weekly_plan_intervals_plan_fkey FOREIGN KEY (schedule_id, valid_from)
        REFERENCES weekly_plans ON DELETE CASCADE,
    CONSTRAINT weekly_plan_intervals_apart EXCLUDE USING gist
        (schedule_id WITH =, valid_from WITH =, span WITH &&)
);

-- When nobody is there: whole days or parts of them.
CREATE TABLE closures (
    closure_id  uuid        CONSTRAINT closures_pkey PRIMARY KEY,
    from_local  timestamp   NOT NULL
        CONSTRAINT closures_from_sane CHECK (is_sane_wall_time(from_local)),
    until_local timestamp   NOT NULL
        CONSTRAINT closures_until_sane CHECK (is_sane_wall_time(until_local)),
    reason      text        NOT NULL
        CONSTRAINT closures_reason_form CHECK (length(reason) BETWEEN 1 AND 500),
    created_at  timestamptz NOT NULL
        CONSTRAINT closures_created_at_sane CHECK (is_sane(created_at)),
    CONSTRAINT closures_not_empty CHECK (from_local < until_local)
);

-- When a doctor is not there.
CREATE TABLE time_off (
    time_off_id uuid        CONSTRAINT time_off_pkey PRIMARY KEY,
    doctor_id   uuid        NOT NULL
        CONSTRAINT time_off_doctor_id_fkey REFERENCES users,
    from_local  timestamp   NOT NULL
        CONSTRAINT time_off_from_sane CHECK (is_sane_wall_time(from_local)),
    until_local timestamp   NOT NULL
        CONSTRAINT time_off_until_sane CHECK (is_sane_wall_time(until_local)),
    reason      text
        CONSTRAINT time_off_reason_form CHECK (length(reason) BETWEEN 1 AND 500),
    created_at  timestamptz NOT NULL
        CONSTRAINT time_off_created_at_sane CHECK (is_sane(created_at)),
    CONSTRAINT time_off_not_empty CHECK (from_local < until_local)
);

CREATE INDEX closures_by_end ON closures (until_local, closure_id);
CREATE INDEX time_off_by_end ON time_off (doctor_id, until_local, time_off_id);
CREATE INDEX service_doctors_by_doctor ON service_doctors (doctor_id);
CREATE INDEX doctor_settings_by_usual_room ON doctor_settings (usual_room_id);
