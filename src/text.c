/*
 * text.c
 *
 * Texts compared by their bytes.
 */
#include "text.h"

#include "compat.h"

bool
PayTextsEqual(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

int
PayCompareTexts(const text *a, const text *b)
{
	int			difference;

	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	difference = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(VARSIZE_ANY_EXHDR(a), VARSIZE_ANY_EXHDR(b)));
	return difference != 0 ? difference : (int) VARSIZE_ANY_EXHDR(a) - (int) VARSIZE_ANY_EXHDR(b);
}

bool
PayTextIs(const text *value, const char *word)
{
	return value != NULL && VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}
