-- What people wrote into the history of visits about an anonymized patient. The application may
-- change the history in no other way, but for giving positions.
CREATE FUNCTION public.redact_history_of(patient uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    BEGIN ATOMIC
        UPDATE public.appointment_history SET reason = 'redacted'
        FROM public.appointments JOIN public.patients USING (patient_id)
        WHERE appointment_history.appointment_id = appointments.appointment_id
            AND reason <> 'redacted' AND patient_id = patient AND anonymized_at IS NOT NULL;
    END;
