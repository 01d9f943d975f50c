/*
 * deadline.c
 *
 * Points in time that follow from intervals.
 */
#include "deadline.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
IsBounded(int64 value, int64 per_year)
{
	return value / per_year <= PAY_MAX_YEARS && value / per_year >= -PAY_MAX_YEARS;
}

TimestampTz
PayAfter(TimestampTz from, const Interval *wait)
{
	if (!IsBounded(wait->month, MONTHS_PER_YEAR) || !IsBounded(wait->day, 366) ||
		!IsBounded(wait->time, USECS_PER_DAY * 366))
		return DT_NOEND;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(from),
												   IntervalPGetDatum(wait)));
}
