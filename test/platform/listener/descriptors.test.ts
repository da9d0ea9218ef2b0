import { Descriptors, type Files } from '../../../src/platform/listener/descriptors';

/** A process that may have so many files open. */
function limited(limit: number) {
  const open = new Set<number>();
  let next = 0;
  const files: Files = {
    open: () => {
      if (open.size >= process_.limit) throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
      open.add(++next);
      return next;
    },
    close: (descriptor) => void open.delete(descriptor),
  };
  const process_ = { files, open, limit };
  return process_;
}

test('some are set aside while there are enough', () => {
  const { files, open } = limited(100);
  const descriptors = new Descriptors(files);
  expect([descriptors.areScarce, open.size]).toEqual([false, 16]);
  descriptors.look();
  expect(open.size).toBe(16);
  descriptors.close();
  expect(open.size).toBe(0);
});

test('none beyond those set aside: all of them are let go, until there are enough again', () => {
  const process_ = limited(100);
  const { files, open } = process_;
  const descriptors = new Descriptors(files);
  process_.limit = 16;
  descriptors.look();
  expect([descriptors.areScarce, open.size]).toEqual([true, 0]);
  descriptors.look();
  expect([descriptors.areScarce, open.size]).toEqual([true, 0]);
  process_.limit = 17;
  descriptors.look();
  expect([descriptors.areScarce, open.size]).toEqual([false, 16]);
});

test('a connection that could not be accepted has them let go at once', () => {
  const { files, open } = limited(100);
  const descriptors = new Descriptors(files);
  descriptors.letGo();
  expect([descriptors.areScarce, open.size]).toEqual([true, 0]);
  descriptors.look();
  expect([descriptors.areScarce, open.size]).toEqual([false, 16]);
});
