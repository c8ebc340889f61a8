use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Weekday};

use super::stage::{Must, Stage, all_of, assert_conflict, assert_violates, changed, page_of};
use crate::access::Role;
use crate::calendar::{
    Closure, ClosureKey, Schedule, Stretch, TimeOff, TimeOffKey, WallSpan, WallWindow,
    WeeklyInterval, WeeklyPlan,
};
use crate::shared::{PageRequest, UserId, Version};
use crate::store::{Rule, Store, StoreError};

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2030, 1, day).expect("a day of January")
}

fn at(on: u32, hour: u32) -> NaiveDateTime {
    day(on).and_hms_opt(hour, 0, 0).expect("an hour of the day")
}

fn span(from: (u32, u32), until: (u32, u32)) -> WallSpan {
    WallSpan {
        from: at(from.0, from.1),
        until: at(until.0, until.1),
    }
}

fn interval(weekday: Weekday, opens_minute: u16, closes_minute: u16) -> WeeklyInterval {
    WeeklyInterval {
        weekday,
        opens_minute,
        closes_minute,
    }
}

fn plan(valid_from: NaiveDate, intervals: &[WeeklyInterval]) -> WeeklyPlan {
    WeeklyPlan {
        valid_from,
        intervals: Some(intervals.to_vec()),
    }
}

fn unset(valid_from: NaiveDate) -> WeeklyPlan {
    WeeklyPlan {
        valid_from,
        intervals: None,
    }
}

async fn schedule(stage: &Stage<'_>, doctor_id: Option<UserId>) -> Schedule {
    let mut connection = stage.connect().await;
    connection.calendar().schedule(doctor_id).await.must()
}

/// Puts the plan into the schedule that is stored.
async fn put(
    stage: &Stage<'_>,
    doctor_id: Option<UserId>,
    plan: &WeeklyPlan,
) -> Result<(), StoreError> {
    let next = schedule(stage, doctor_id).await.with(plan.clone());
    stage
        .write(async |work| {
            work.calendar().hold_plans().await?;
            work.calendar()
                .replace_plans(&next, plan, stage.at(0))
                .await
        })
        .await
}

async fn insert_closure(stage: &Stage<'_>, closure: &Closure) -> Result<(), StoreError> {
    stage
        .write(async |work| work.calendar().insert_closure(closure).await)
        .await
}

async fn insert_time_off(stage: &Stage<'_>, time_off: &TimeOff) -> Result<(), StoreError> {
    stage
        .write(async |work| work.calendar().insert_time_off(time_off).await)
        .await
}

fn closure(stage: &Stage<'_>, span: WallSpan) -> Closure {
    Closure {
        closure_id: stage.id(),
        span,
        reason: "Holiday".into(),
        created_at: stage.at(0),
    }
}

fn time_off(stage: &Stage<'_>, doctor_id: UserId, span: WallSpan) -> TimeOff {
    TimeOff {
        time_off_id: stage.id(),
        doctor_id,
        span,
        reason: None,
        created_at: stage.at(0),
    }
}

/// Hours are unset at first. Plans come back in their order, with their intervals in the order of
/// the week; those of doctors and of the clinic are apart. A plan replaces those that begin when
/// it does or later.
pub async fn hours_are_stored_plan_by_plan(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let whose = Some(doctor.user_id);
    for doctor_id in [None, whose] {
        let unset = Schedule {
            doctor_id,
            plans: Vec::new(),
            version: Version::NEVER_CHANGED,
        };
        assert_eq!(schedule(&stage, doctor_id).await, unset);
    }

    let morning = interval(Weekday::Mon, 8 * 60, 12 * 60);
    let afternoon = interval(Weekday::Mon, 13 * 60, 17 * 60);
    let night = interval(Weekday::Sun, 22 * 60, 30 * 60);
    let first = plan(day(1), &[morning, afternoon, night]);
    put(&stage, None, &plan(day(1), &[night, afternoon, morning]))
        .await
        .must();
    let none = plan(day(10), &[]);
    put(&stage, None, &none).await.must();
    put(&stage, None, &unset(day(20))).await.must();
    put(&stage, whose, &plan(day(5), &[night])).await.must();

    let clinic = schedule(&stage, None).await;
    assert_eq!(clinic.plans, [first.clone(), none, unset(day(20))]);
    assert_eq!(clinic.version, Version::new(3));
    let doctors = schedule(&stage, whose).await;
    assert_eq!(doctors.plans, [plan(day(5), &[night])]);
    assert_eq!(doctors.version, Version::FIRST);

    let same_day = plan(day(10), &[afternoon]);
    put(&stage, None, &same_day).await.must();
    let clinic = schedule(&stage, None).await;
    assert_eq!(clinic.plans, [first, same_day]);
    assert_eq!(schedule(&stage, whose).await, doctors);
}

/// Plans are replaced when the version before is stored, and only those of known doctors.
pub async fn plans_are_replaced_in_their_version(store: &dyn Store) {
    let stage = Stage::new(store);
    let replace = async |schedule: &Schedule, plan: &WeeklyPlan| {
        stage
            .write(async |work| {
                work.calendar()
                    .replace_plans(schedule, plan, stage.at(0))
                    .await
            })
            .await
    };
    let plan = plan(day(1), &[]);
    let first = schedule(&stage, None).await.with(plan.clone());
    replace(&first, &plan).await.must();
    assert_conflict(replace(&first, &plan).await);
    let too_far = first.with(plan.clone()).with(plan.clone());
    assert_conflict(replace(&too_far, &plan).await);
    assert_eq!(schedule(&stage, None).await, first);

    let nobodys = put(&stage, Some(stage.id()), &plan).await;
    assert_violates(nobodys, Rule::UserUnknown);
}

/// The store refuses what no service would write.
pub async fn hours_of_the_wrong_form_are_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    for (opens, closes) in [(1440, 1500), (600, 600), (600, 599), (600, 2041)] {
        let wrong = plan(day(1), &[interval(Weekday::Mon, opens, closes)]);
        let outcome = put(&stage, None, &wrong).await;
        assert_violates(outcome, Rule::ValueRefused);
    }
    let too_early = unset(NaiveDate::from_ymd_opt(1899, 12, 31).expect("a day"));
    let outcome = put(&stage, None, &too_early).await;
    assert_violates(outcome, Rule::ValueRefused);
    assert_eq!(schedule(&stage, None).await.plans, []);
}

/// The hours of a plan are apart, past midnight and over the end of the week too.
pub async fn hours_do_not_overlap(store: &dyn Store) {
    let stage = Stage::new(store);
    let whole_day = interval(Weekday::Tue, 600, 600 + 1440);
    for (one, other, are_apart) in [
        ((Weekday::Mon, 540, 720), (Weekday::Mon, 720, 800), true),
        ((Weekday::Mon, 540, 720), (Weekday::Mon, 719, 800), false),
        ((Weekday::Mon, 540, 720), (Weekday::Mon, 540, 600), false),
        ((Weekday::Mon, 1320, 1500), (Weekday::Tue, 60, 600), true),
        ((Weekday::Mon, 1320, 1501), (Weekday::Tue, 60, 600), false),
        ((Weekday::Sun, 1320, 1500), (Weekday::Mon, 60, 600), true),
        ((Weekday::Sun, 1320, 1501), (Weekday::Mon, 60, 600), false),
        ((Weekday::Mon, 0, 600), (Weekday::Sun, 1320, 1441), false),
        ((Weekday::Mon, 0, 600), (Weekday::Sun, 1320, 1440), true),
        ((Weekday::Wed, 600, 700), (Weekday::Mon, 0, 60), true),
        ((Weekday::Wed, 599, 700), (Weekday::Mon, 0, 60), false),
    ] {
        let (one, other) = (
            interval(one.0, one.1, one.2),
            interval(other.0, other.1, other.2),
        );
        let outcome = put(&stage, None, &plan(day(1), &[whole_day, one, other])).await;
        if are_apart {
            outcome.must();
        } else {
            assert_violates(outcome, Rule::HoursOverlap);
        }
    }
}

/// Closures come back, in a window or by their id, until they are deleted.
pub async fn closures_are_stored_found_and_deleted(store: &dyn Store) {
    let stage = Stage::new(store);
    let long = closure(&stage, span((1, 0), (8, 0)));
    let short = closure(&stage, span((3, 12), (3, 18)));
    for closure in [&long, &short] {
        insert_closure(&stage, closure).await.must();
    }
    assert_violates(insert_closure(&stage, &long).await, Rule::IdentifierTaken);
    let both = [short.clone(), long.clone()];
    for (from, to, expected) in [
        (None, None, &both[..]),
        (Some(at(3, 18)), None, &both[1..]),
        (Some(at(3, 17)), None, &both[..]),
        (Some(at(8, 0)), None, &[]),
        (None, Some(at(1, 0)), &[]),
        (None, Some(at(1, 1)), &both[1..]),
        (Some(at(3, 17)), Some(at(4, 0)), &both[..]),
    ] {
        let window = WallWindow { from, to };
        let mut connection = stage.connect().await;
        let found = connection.calendar();
        let found = found.closures(window, PageRequest::first()).await;
        assert_eq!(all_of(found), expected, "{window:?}");
    }

    let mut connection = stage.connect().await;
    let found = connection.calendar().closure(long.closure_id).await.must();
    assert_eq!(found.as_ref(), Some(&long));
    let delete = async || {
        stage
            .write(async |work| work.calendar().delete_closure(long.closure_id).await)
            .await
    };
    delete().await.must();
    assert_conflict(delete().await);
    let found = connection.calendar().closure(long.closure_id).await.must();
    assert_eq!(found, None);
}

/// A doctor's time off comes back, in a window or by its id, until it is deleted.
pub async fn time_off_is_stored_found_and_deleted(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await.user_id;
    let other = stage.saved_user("other", Role::Doctor).await.user_id;
    let long = changed(
        &time_off(&stage, doctor, span((1, 0), (8, 0))),
        |time_off| {
            time_off.reason = Some("Congress".into());
        },
    );
    let short = time_off(&stage, doctor, span((3, 12), (3, 18)));
    let of_other = time_off(&stage, other, span((3, 12), (3, 18)));
    for time_off in [&long, &short, &of_other] {
        insert_time_off(&stage, time_off).await.must();
    }
    let again = insert_time_off(&stage, &long).await;
    assert_violates(again, Rule::IdentifierTaken);
    let nobodys = time_off(&stage, stage.id(), span((1, 0), (2, 0)));
    let nobodys = insert_time_off(&stage, &nobodys).await;
    assert_violates(nobodys, Rule::UserUnknown);

    let both = [short.clone(), long.clone()];
    for (doctor_id, from, to, expected) in [
        (doctor, None, None, &both[..]),
        (other, None, None, &[of_other][..]),
        (doctor, Some(at(3, 18)), None, &both[1..]),
        (doctor, None, Some(at(1, 0)), &[]),
        (stage.id(), None, None, &[]),
    ] {
        let window = WallWindow { from, to };
        let mut connection = stage.connect().await;
        let calendar = connection.calendar();
        let found = calendar
            .time_off_of(doctor_id, window, PageRequest::first())
            .await;
        assert_eq!(all_of(found), expected, "{window:?}");
    }

    let mut connection = stage.connect().await;
    let found = connection.calendar().time_off(long.time_off_id).await;
    assert_eq!(found.must().as_ref(), Some(&long));
    let delete = async || {
        stage
            .write(async |work| work.calendar().delete_time_off(long.time_off_id).await)
            .await
    };
    delete().await.must();
    assert_conflict(delete().await);
    let found = connection.calendar().time_off(long.time_off_id).await;
    assert_eq!(found.must(), None);
}

/// The store refuses what no service would write.
pub async fn absences_of_the_wrong_form_are_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await.user_id;
    let fine = span((1, 0), (2, 0));
    let year = |year| {
        let day = NaiveDate::from_ymd_opt(year, 1, 1).expect("a day");
        day.and_hms_opt(0, 0, 0).expect("midnight")
    };
    let wrong = [
        span((2, 0), (2, 0)),
        span((2, 0), (1, 0)),
        WallSpan {
            from: year(1899),
            ..fine
        },
        WallSpan {
            until: year(2200),
            ..fine
        },
    ];
    for span in wrong {
        let outcome = insert_closure(&stage, &closure(&stage, span)).await;
        assert_violates(outcome, Rule::ValueRefused);
        let outcome = insert_time_off(&stage, &time_off(&stage, doctor, span)).await;
        assert_violates(outcome, Rule::ValueRefused);
    }
    for reason in [String::new(), "x".repeat(501)] {
        let closure = changed(&closure(&stage, fine), |closure| {
            closure.reason.clone_from(&reason);
        });
        let outcome = insert_closure(&stage, &closure).await;
        assert_violates(outcome, Rule::ValueRefused);
        let time_off = changed(&time_off(&stage, doctor, fine), |time_off| {
            time_off.reason = Some(reason);
        });
        let outcome = insert_time_off(&stage, &time_off).await;
        assert_violates(outcome, Rule::ValueRefused);
    }
}

/// Pages hold what ends earlier first, each once.
pub async fn absences_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await.user_id;
    let (mut closures, mut all_time_off) = (Vec::new(), Vec::new());
    for span in [
        span((1, 0), (9, 0)),
        span((2, 0), (5, 0)),
        span((3, 0), (5, 0)),
    ] {
        closures.push(closure(&stage, span));
        all_time_off.push(time_off(&stage, doctor, span));
    }
    for (closure, time_off) in closures.iter().zip(&all_time_off) {
        insert_closure(&stage, closure).await.must();
        insert_time_off(&stage, time_off).await.must();
    }
    closures.rotate_left(1);
    all_time_off.rotate_left(1);
    let everything = WallWindow::default();
    let mut connection = stage.connect().await;
    let calendar = connection.calendar();
    let first = calendar.closures(everything, page_of(2, None)).await.must();
    assert_eq!(first.items, closures[..2]);
    assert_eq!(first.next, Some(ClosureKey::from(&closures[1])));
    let second = calendar.closures(everything, page_of(2, first.next)).await;
    assert_eq!(all_of(second), closures[2..]);

    let page = page_of(2, None);
    let first = calendar.time_off_of(doctor, everything, page).await.must();
    assert_eq!(first.items, all_time_off[..2]);
    assert_eq!(first.next, Some(TimeOffKey::from(&all_time_off[1])));
    let page = page_of(2, first.next);
    let second = calendar.time_off_of(doctor, everything, page).await;
    assert_eq!(all_of(second), all_time_off[2..]);
}

/// Of the clinic and of the doctors who are asked for: the plan that is valid when the stretch
/// begins, those that begin in it, and the absences in it; nothing from long before or after.
pub async fn a_timetable_has_what_matters_to_its_stretch(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await.user_id;
    let without_plans = stage.saved_user("free", Role::Doctor).await.user_id;
    let other = stage.saved_user("other", Role::Doctor).await.user_id;
    let night = interval(Weekday::Sun, 22 * 60, 30 * 60);
    let plans = [
        plan(day(1), &[]),
        plan(day(5), &[night]),
        unset(day(15)),
        plan(day(28), &[]),
    ];
    for whose in [None, Some(doctor), Some(other)] {
        for plan in &plans {
            put(&stage, whose, plan).await.must();
        }
    }
    let (before, during, after) = (
        span((1, 0), (3, 0)),
        span((15, 0), (15, 12)),
        span((25, 0), (26, 0)),
    );
    let (mut closed, mut off) = (Vec::new(), Vec::new());
    for span in [before, during, after] {
        let closure = closure(&stage, span);
        insert_closure(&stage, &closure).await.must();
        closed.push(closure);
        for doctor_id in [doctor, other] {
            let time_off = time_off(&stage, doctor_id, span);
            insert_time_off(&stage, &time_off).await.must();
            off.push(time_off);
        }
    }

    let stretch: Stretch = at(15, 8).and_utc()..at(15, 9).and_utc();
    let mut connection = stage.connect().await;
    let asked = [without_plans, doctor];
    let timetable = connection.calendar().timetable(&asked, &stretch).await;
    let timetable = timetable.must();
    assert_eq!(timetable.zone, chrono_tz::Tz::UTC);
    assert_eq!(timetable.clinic, plans[1..3]);
    assert_eq!(timetable.doctors.len(), 1);
    assert_eq!(timetable.doctors[&doctor], plans[1..3]);
    assert_eq!(timetable.closures, closed[1..2]);
    assert_eq!(timetable.time_off, off[2..3]);

    let nobody = connection.calendar().timetable(&[], &stretch).await.must();
    assert_eq!(nobody.clinic, plans[1..3]);
    assert!(nobody.doctors.is_empty() && nobody.time_off.is_empty());

    // Before the first plan there is none, and after the last it is the last.
    let years = TimeDelta::days(3 * 365);
    let (past, future) = (
        stretch.start - years..stretch.end - years,
        stretch.start + years..stretch.end + years,
    );
    let past = connection.calendar().timetable(&asked, &past).await.must();
    assert!(past.clinic.is_empty() && past.doctors.is_empty());
    let future = connection.calendar().timetable(&asked, &future).await;
    let future = future.must();
    assert_eq!(future.clinic, plans[3..]);
    assert_eq!(future.doctors[&doctor], plans[3..]);
    assert!(future.closures.is_empty() && future.time_off.is_empty());
}
