int may_merge;
