/*
 * text.h
 *
 * Texts compared by their bytes, whatever the collation.
 */
#ifndef PAY_TEXT_H
#define PAY_TEXT_H

#include "postgres.h"

/* Are two keys the same bytes?  NULL is equal to NULL. */
extern bool PayTextsEqual(const text *a, const text *b);

/* Order of two keys by their bytes: negative, 0, positive; NULL comes first. */
extern int	PayCompareTexts(const text *a, const text *b);

/* Is it this word? */
extern bool PayTextIs(const text *value, const char *word);

#endif							/* PAY_TEXT_H */
