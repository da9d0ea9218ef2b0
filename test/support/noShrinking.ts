/** A mutant is noticed by the first input that fails: what the smallest one is nobody asks. */
import fc from 'fast-check';

fc.configureGlobal({ endOnFailure: true });
