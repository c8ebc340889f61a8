-- Patients who are nobody any more: what identified them is gone, money and times stay.

ALTER TABLE patients
    ADD COLUMN anonymized_at timestamptz
        CONSTRAINT patients_anonymized_at_sane CHECK (is_sane(anonymized_at)),
    -- For good: nothing that identifies somebody comes back.
    ADD CONSTRAINT patients_anonymized_is_empty CHECK (
        anonymized_at IS NULL OR (
            first_name = 'Anonymized' AND last_name = 'Patient' AND birthday IS NULL
            AND gender = 'unknown' AND notes IS NULL AND archived_at IS NOT NULL
        )
    );

CREATE CONSTRAINT TRIGGER patients_anonymized_for_good
    AFTER UPDATE ON patients FOR EACH ROW
    WHEN (OLD.anonymized_at IS NOT NULL AND NEW.anonymized_at IS DISTINCT FROM OLD.anonymized_at)
    EXECUTE FUNCTION refuse_frozen_change();

-- Takes what was changed out of the audit log's rows about an anonymized patient, and leaves that
-- it was. The application may change the log in no other way.
CREATE FUNCTION public.redact_audit_of(patient uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    BEGIN ATOMIC
        UPDATE public.audit_log SET changes = NULL, changes_salt = NULL
        WHERE patient_ids @> ARRAY[patient] AND changes IS NOT NULL AND EXISTS (
            SELECT FROM public.patients WHERE patient_id = patient AND anonymized_at IS NOT NULL
        );
    END;
